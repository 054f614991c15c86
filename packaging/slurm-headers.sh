#!/bin/sh
# The compiler's option for Slurm's headers, empty where it finds them by itself.
#
# SLURM=/opt/slurm names the prefix that Slurm is installed below; without it pkg-config is asked, which knows Slurm
# where its build installed slurm.pc.
if [ -n "$SLURM" ]; then
	if [ ! -e "$SLURM/include/slurm/spank.h" ]; then
		echo "numa-align: there is no $SLURM/include/slurm/spank.h: SLURM= is to name the prefix of Slurm's installation" >&2
		exit 1
	fi
	echo "-isystem $SLURM/include"
elif pkg-config --exists slurm 2>/dev/null; then
	pkg-config --cflags-only-I slurm | sed 's/-I */-isystem /g'
fi
