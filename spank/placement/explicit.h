/* What the words of --cpu-bind and --mem-bind ask for, and which of it alignment keeps. */
#ifndef NUMA_ALIGN_EXPLICIT_H
#define NUMA_ALIGN_EXPLICIT_H

#include <stdbool.h>

enum na_cpu_bind {
	NA_CPU_BIND_NOTHING, /* nothing, or only how verbose Slurm is */
	NA_CPU_BIND_NONE, /* none: leaves binding to others, such as this plugin */
	NA_CPU_BIND_CORES, /* cores, threads: a slice has this granularity anyway */
	NA_CPU_BIND_NODES, /* sockets, ldoms, boards: every CPU of a place, shared with others */
	NA_CPU_BIND_EXPLICIT, /* maps, masks, ranks: kept as they are */
};

enum na_mem_bind {
	NA_MEM_BIND_NOTHING,
	NA_MEM_BIND_LOCAL, /* memory where the task runs, wherever that is */
	NA_MEM_BIND_PREFER_LOCAL,
	NA_MEM_BIND_EXPLICIT, /* maps, masks, ranks, none: kept as they are */
};

/* For a value as Slurm writes it to SLURM_CPU_BIND and SLURM_MEM_BIND. An unknown word counts as explicit. */
enum na_cpu_bind na_cpu_bind(const char *value);
enum na_mem_bind na_mem_bind(const char *value);

/*
 * Whether `value` (SLURM_CPU_BIND or SLURM_MEM_BIND) was written by slurmstepd for a task, and not by a
 * user: only slurmstepd writes the related variables, and a user who then sets this one leaves those.
 * `verbose`, `type` and `list` are the variables with these endings, NULL if they are not set.
 */
bool na_bind_inherited(const char *value, const char *verbose, const char *type, const char *list);

#endif
