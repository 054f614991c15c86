#!/bin/sh
# The release of the Slurm whose headers are installed, as 24.11; with an argument the next one's lower bound for packages.
#
# Source: SLURM_VERSION_NUMBER in slurm/slurm.h (slurm_version.h): year, month and fix, a byte each.
number=$(printf 'SLURM_VERSION_NUMBER\n' | ${CC:-cc} -E -P -include slurm/slurm.h -x c - | tail -n 1)
case $number in
	0x??????) ;;
	*)
		echo "numa-align: Slurm's headers are not installed (libslurm-dev, slurm-devel)" >&2
		exit 1
		;;
esac
year=$((0x$(echo "$number" | cut -c3-4)))
month=$((0x$(echo "$number" | cut -c5-6)))
printf '%d.%02d\n' "$year" "$month"
