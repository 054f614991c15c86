#!/bin/sh
# Stops `make uninstall` while Slurm still runs the prolog, the epilog or the task prolog.
#
# may-uninstall.sh FOLDER_OF_SLURM_CONF
if ! sh "$(dirname "$0")/still-used.sh" "$1"; then
	echo "numa-align: nothing was removed: slurmd would drain every node that gets a job. Take these lines out first" \
		"(scontrol reconfigure), or say make uninstall FORCE=yes" >&2
	exit 1
fi
