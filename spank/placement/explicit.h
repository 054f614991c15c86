/* What the words of --cpu-bind and --mem-bind ask for, and what of it alignment keeps. */
#ifndef NUMA_ALIGN_EXPLICIT_H
#define NUMA_ALIGN_EXPLICIT_H

#include <stdbool.h>

enum na_cpu_bind {
	NA_CPU_BIND_NOTHING, /* nothing, or only how much Slurm says about it */
	NA_CPU_BIND_NONE, /* none: how an external binder is let in */
	NA_CPU_BIND_CORES, /* cores, threads: the granularity that a slice has anyway */
	NA_CPU_BIND_NODES, /* sockets, ldoms, boards: every CPU of a place, shared with others */
	NA_CPU_BIND_EXPLICIT, /* maps, masks, ranks: kept as they are */
};

enum na_mem_bind {
	NA_MEM_BIND_NOTHING,
	NA_MEM_BIND_LOCAL, /* memory where the task runs, wherever that is */
	NA_MEM_BIND_PREFER_LOCAL,
	NA_MEM_BIND_EXPLICIT, /* maps, masks, ranks, none: kept as they are */
};

/* Of a value as Slurm writes it to SLURM_CPU_BIND and SLURM_MEM_BIND. A word not known is explicit. */
enum na_cpu_bind na_cpu_bind(const char *value);
enum na_mem_bind na_mem_bind(const char *value);

/*
 * Whether `value` (SLURM_CPU_BIND or SLURM_MEM_BIND) is what slurmstepd wrote for a task, and not a
 * user: only slurmstepd writes the parts beside it, and a user who then sets the variable leaves them.
 * `verbose`, `type` and `list` are the variables with these endings, NULL where they are not set.
 */
bool na_bind_inherited(const char *value, const char *verbose, const char *type, const char *list);

#endif
