/* The variables that tell a placed process its place: their names, and their texts. Pure. */
#ifndef NUMA_ALIGN_VARIABLES_H
#define NUMA_ALIGN_VARIABLES_H

#include "step.h"

enum na_variable {
	NA_VARIABLE_STATE,
	NA_VARIABLE_GPUS, /* PCI addresses */
	NA_VARIABLE_CPUS,
	NA_VARIABLE_MEMS,
	NA_VARIABLE_MAP, /* of a task with several GPUs: BDF=CPUS@NODES for each, separated by semicolons */
	NA_VARIABLE_NICS, /* names of its own network cards, nearest to its GPUs; separated by commas */
	NA_VARIABLE_REASON, /* why it is not aligned, or has fewer CPUs than Slurm gave it */
	NA_VARIABLE_WORKER, /* of a worker that `numa-align run` placed inside its task; never the plugin's */
	NA_VARIABLES,
};

/* In a rehearsal this one replaces all others: it has what they would say, and nothing was set. */
#define NA_VARIABLE_DRY "NUMA_ALIGN_DRY"

/* "" for any other number. */
const char *na_variable_name(enum na_variable variable);

/* The PCI addresses of the placement's GPUs, separated by commas. */
void na_list_gpus(const struct na_machine *machine, const struct na_placement *placement, char *text,
		  size_t size);

/* The names of some cards, separated by commas. */
void na_list_nics(const struct na_machine *machine, na_nics nics, char *text, size_t size);

/* Room for 256 GPUs with a few ranges each; an entry that does not fit is left out whole. */
#define NA_VARIABLE_TEXT_MAX 16384

/*
 * The value of one variable after `placement`. False if the task does not have it: a map with fewer than
 * two GPUs, cards if there are none, the worker's number, or any but the state if no machine is known.
 */
bool na_variable_text(const struct na_step *step, const struct na_placement *placement,
		      enum na_variable variable, char *text, size_t size);

#endif
