#!/bin/sh
# Stops `make uninstall` while slurm.conf still names the prolog or epilog: slurmd drains every node that gets a job if
# they are not there (prolog_epilog guide, "Failure Handling").
#
# may-uninstall.sh FOLDER_OF_SLURM_CONF
conf=$1/slurm.conf
line=$(grep -Ens "^[[:space:]]*(Prolog|Epilog)=.*numa-align-(prolog|epilog)" "$conf" | head -n 1)
if [ -n "$line" ]; then
	echo "numa-align: $conf:$line" >&2
	echo "numa-align: nothing was removed: slurmd would drain every node that gets a job. Take that line out first" \
		"(scontrol reconfigure), or say make uninstall FORCE=yes" >&2
	exit 1
fi
