/* Describes a placement: its state, the reason, and what to request instead. */
#ifndef NUMA_ALIGN_EXPLAIN_H
#define NUMA_ALIGN_EXPLAIN_H

#include "step.h"

/*
 * Sets state, reason and advice of a task with GPUs; they follow from the CPUs and the policy
 * that it finally has, not from the request. `local` are the CPUs near its GPUs, `unknown`
 * is the number of its GPUs whose node is unknown.
 */
void na_judge(const struct na_step *step, const struct na_task *task, struct na_placement *placement,
	      const struct na_set *local, int unknown);

/* Says so if memory is spread over more nodes than those `near` its GPUs. */
void na_judge_spread(struct na_placement *placement, const struct na_set *near);

/*
 * Adds what the kernel reports of the memory policy once everything is set: its `nodes`, none for default
 * and local. A task whose memory is bound away from its GPUs is not aligned, wherever its CPUs are.
 */
void na_judge_memory(const struct na_task *task, struct na_placement *placement, const struct na_set *nodes);

/* Notes that a task has fewer CPUs than Slurm gave it, why, and how many of the step are unused. */
void na_mention_fewer(const struct na_step *step, struct na_placement *placement, int idle);

/* The same for a task of a step without GPUs, which has nothing to be far from. */
void na_judge_without_gpus(const struct na_step *step, struct na_placement *placement);

/* The same for a task that may open none of the step's GPUs. */
void na_judge_without_visible(struct na_placement *placement);

/* The same for a task whose number does not exist in the step. */
void na_judge_beyond(struct na_placement *placement);

#endif
