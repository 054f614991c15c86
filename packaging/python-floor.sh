#!/bin/sh
# Stops a build for a Python that is too old, or not there.
#
# python-floor.sh PYTHON
version=$("$1" -c 'import sys; print("%d %d" % sys.version_info[:2])' 2>/dev/null) || version=
case $version in
	"3 "[0-8] | "2 "*)
		echo "numa-align: $1 is Python $(echo "$version" | tr ' ' .), and 3.9 or later is needed: install a newer one" \
			"and name it, as in make PYTHON=/usr/bin/python3.11" >&2
		exit 1
		;;
	"3 "*) ;;
	*)
		echo "numa-align: $1 is no Python that runs: name one, as in make PYTHON=/usr/bin/python3.11" >&2
		exit 1
		;;
esac
