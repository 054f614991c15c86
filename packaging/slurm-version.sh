#!/bin/sh
# The release of the Slurm whose headers are found, as 24.11. SLURM= names its prefix (slurm-headers.sh), CC the compiler.
#
# Source: SLURM_VERSION_NUMBER in slurm/slurm.h (slurm_version.h): year, month and fix, a byte each.
headers=$(sh "$(dirname "$0")/slurm-headers.sh") || exit 1
# Unquoted: an option and its folder, and whatever CPPFLAGS has.
# shellcheck disable=SC2086
number=$(printf 'SLURM_VERSION_NUMBER\n' | ${CC:-cc} $CPPFLAGS $headers -E -P -include slurm/slurm.h -x c - 2>/dev/null | tail -n 1)
case $number in
	0x??????) ;;
	*)
		echo "numa-align: Slurm's headers are not found: install them (libslurm-dev, slurm-devel), or say" \
			"make SLURM=PREFIX for a Slurm installed below PREFIX" >&2
		exit 1
		;;
esac
year=$((0x$(echo "$number" | cut -c3-4)))
month=$((0x$(echo "$number" | cut -c5-6)))
printf '%d.%02d\n' "$year" "$month"
