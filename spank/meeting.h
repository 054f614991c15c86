/* The tasks of a step on one node tell one another which GPUs they see, over memory that they share. */
#ifndef NUMA_ALIGN_MEETING_H
#define NUMA_ALIGN_MEETING_H

#include "placement/step.h"

struct na_meeting;

/* Made in user_init, so that the tasks inherit it through fork. NULL if there is no memory. */
struct na_meeting *na_meeting_new(void);

/*
 * Leaves what task `id` sees, and with `wait` waits for the others: Slurm has forked all tasks of a node
 * before it lets the first one go on. Returns what each sees, or NULL if not all have come within
 * two seconds (one has died on the way) or without `wait`. A busy node takes its time: waiting is cheaper than
 * two tasks on one core.
 */
const struct na_sight *na_meeting_meet(struct na_meeting *meeting, int id, int tasks,
				       const struct na_sight *sight, bool wait);

/* True for one task of the step: what all would say is said once. */
bool na_meeting_first_to_warn(struct na_meeting *meeting);

#endif
