/* Which GPUs a process has: those that it may open, then those that the variables name. */
#ifndef NUMA_ALIGN_DEVICES_H
#define NUMA_ALIGN_DEVICES_H

#include <slurm/spank.h>

#include "placement/machine.h"

/*
 * The GPUs of the whole step on this node, as positions in machine->gpus, ascending. Called in
 * user_init, where SLURM_STEP_GPUS is still the step's (in a task it names the first GPU of the
 * step, whichever the task has: gres_g_task_set_env in Slurm). Returns how many.
 */
int na_devices_of_step(spank_t spank, const struct na_machine *machine, int gpus[NA_MAX_GPUS]);

/*
 * The GPUs that the calling task can use, in the order in which it counts them. access(2) asks
 * the device cgroup without opening the GPU, which would wake it.
 */
int na_devices_of_task(spank_t spank, const struct na_machine *machine, const int *step_gpus, int step_count,
		       int gpus[NA_MAX_GPUS]);

/*
 * Whether Slurm lists no GPU for the step itself, but does for the job: a task that may open none of these
 * belongs to a step without GPUs (--gres=none in a job with --exclusive, 26.05).
 */
bool na_devices_not_named(spank_t spank);

/*
 * Whether Slurm was told which GPUs each task sees (--gpu-bind, --gpus-per-task): then one task may see
 * all while others do not. Called in a task. Otherwise all see the same.
 */
bool na_devices_told_apart(spank_t spank);

/* The network cards that this task may open and that are in its network namespace. */
na_nics na_devices_nics(const struct na_machine *machine);

#endif
