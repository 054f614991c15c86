#!/bin/sh
# Says whether a Slurm configuration on this machine still runs numa-align-prolog, -epilog or -task-prolog: slurmd drains
# every node that gets a job if one that it is to run is missing, and a missing task prolog fails every task.
#
# still-used.sh [FOLDER]     exit status 1, and the lines on stderr, if it does
#
# Looks into FOLDER, the folder of SLURM_CONF and the usual ones, a configless node's among them; into what their files
# include; and into the scripts that Prolog=, Epilog= and TaskProlog= name, patterns of several among them. Text is looked
# for and not keys, so that no way of writing a key is missed; what stands behind a # does not count.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
names='^[^#]*numa-align-(task-)?(pro|epi)log'
found=$(
	{
		for folder in "$1" "${SLURM_CONF:+$(dirname "$SLURM_CONF")}" /etc/slurm /etc/slurm-llnl /run/slurm/conf \
			/var/spool/slurmd/conf-cache /var/spool/slurm/d/conf-cache; do
			[ -n "$folder" ] && [ -d "$folder" ] || continue
			find -L "$folder" -maxdepth 3 -type f -size -4096k -print 2>/dev/null
			# What the files name: included ones, and scripts or patterns of them.
			find -L "$folder" -maxdepth 2 -name '*.conf*' -type f -exec \
				sed -nE 's/^[[:space:]]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee][[:space:]]+([^#[:space:]]+).*/\1/p
					s/^[^#]*([Pp][Rr][Oo]|[Ee][Pp][Ii])[Ll][Oo][Gg][A-Za-z]*[[:space:]]*=[[:space:]]*"?([^"#[:space:]]+).*/\2/p' \
				{} + 2>/dev/null | while read -r named; do
				case $named in
					/*) ;;
					*) named=$folder/$named ;;
				esac
				# Unquoted: a pattern stands for the files that it matches.
				for file in $named; do
					[ -f "$file" ] && echo "$file"
				done
			done
		done
	} | sort -u | while read -r file; do
		case $(readlink -f "$file") in
			# Ours itself, linked into a folder of scripts.
			*/numa-align-prolog | */numa-align-epilog | */numa-align-task-prolog)
				case $file in
					*bin/numa-align-*) ;;
					*) echo "$file: is a link to $(readlink -f "$file")" ;;
				esac
				;;
			*/numa-align/still-used.sh | *.removed) ;;
			*) grep -HnEIs "$names" "$file" ;;
		esac
	done
)
[ -z "$found" ] && exit 0
echo "$found" | sed 's/^/numa-align: /' >&2
exit 1
