/* The tasks of a step: which GPUs each uses, and what it claims through them. */
#ifndef NUMA_ALIGN_TASKS_H
#define NUMA_ALIGN_TASKS_H

#include "claim.h"
#include "step.h"

/*
 * Which of `visible` GPUs task `id` of `tasks` uses: GPUs number first to first + count - 1, the
 * first one shared by `sharers` tasks of which this is number `share`. Programs that use
 * SLURM_LOCALID choose in this way.
 */
struct na_choice {
	int first, count, share, sharers;
};
struct na_choice na_choose_gpus(int id, int tasks, int visible);

/*
 * Which of the `visible` GPUs that it sees task number `id` uses. If the tasks do not all see all GPUs
 * of the step, Slurm has told them apart already: a task uses all that it sees, unless that many tasks
 * with that many GPUs each cannot all have their own.
 */
struct na_choice na_task_choice(const struct na_step *step, int id, int visible);

/* One claimant for each of some GPUs (positions in machine->gpus), if each has a part of its own. */
void na_claimants_of_gpus(const struct na_machine *machine, const int *gpus, int count,
			  struct na_claimant *claimants);

/* The CPUs on the nodes of the GPUs that a task uses, inside the step or not. */
void na_cpus_on_nodes(const struct na_step *step, const struct na_placement *placement, struct na_set *cpus);

/* The CPUs of the step that are dealt out: with smt=off, one hardware thread per core. */
void na_usable_cpus(const struct na_step *step, struct na_set *cpus);

/* How many CPUs Slurm gave task number `id`; in a step that it did not divide, an even share. */
int na_given_cpus(const struct na_step *step, const struct na_task *task, int id);

/*
 * The CPUs that a task with GPUs gets according to cpus=, and those that no task gets, as far as
 * that is known. `placement` has its GPUs. False if there is no memory.
 */
bool na_cpus_of_gpus(const struct na_step *step, const struct na_task *task,
		     const struct na_placement *placement, struct na_set *cpus, struct na_set *idle);

/* The network cards that a task with GPUs gets (nics.h). False if there is no memory. */
bool na_nics_of_task(const struct na_step *step, const struct na_task *task,
		     const struct na_placement *placement, na_nics *nics);

/* The CPUs that a task of a step without GPUs gets. False if there is no memory. */
bool na_cpus_without_gpus(const struct na_step *step, const struct na_task *task, struct na_set *cpus);

#endif
