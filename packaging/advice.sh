#!/bin/sh
# What is left to do after `make install`: printed, never done, as these files are the site's.
#
# advice.sh PREFIX FOLDER_OF_SLURM_CONF
prefix=$1
etc=$2
if [ -z "$(ls "$etc"/plugstack.conf 2>/dev/null)" ] || ! grep -Eqs "^include[[:space:]].*plugstack\.conf\.d" "$etc/plugstack.conf"; then
	echo "Add to $etc/plugstack.conf:"
	echo "  include $etc/plugstack.conf.d/*.conf"
fi
if ! grep -Eqs "^Prolog=.*numa-align-prolog" "$etc/slurm.conf"; then
	echo "Add to slurm.conf, once numa-align is on every node (a Prolog that is missing drains the node):"
	echo "  Prolog=$prefix/sbin/numa-align-prolog"
	echo "  Epilog=$prefix/sbin/numa-align-epilog"
	echo "  PrologFlags=Alloc,Contain"
fi
if [ -z "$(${PYTHON:-python3} "${0%/*}/site_folder.py" "$prefix")" ]; then
	echo "For 'import numa_align' in a Python's own environment, with cffi in it:"
	echo "  echo $prefix/lib/numa-align/python >\$(python3 -c 'import site; print(site.getsitepackages()[0])')/numa-align.pth"
fi
echo "Then restart slurmd, and run numa-align doctor. numa-align conf prints what else GPUs need in gres.conf and slurm.conf."
