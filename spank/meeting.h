/* The tasks of a step on one node tell each other which GPUs they see, through shared memory. */
#ifndef NUMA_ALIGN_MEETING_H
#define NUMA_ALIGN_MEETING_H

#include "placement/step.h"

struct na_meeting;

/* Made in user_init, so that the tasks inherit it through fork. NULL if there is no memory. */
struct na_meeting *na_meeting_new(void);

/*
 * Writes what task `id` sees, and with `wait` waits for the others: Slurm has forked all tasks of a node
 * before it lets the first one continue. Returns what each sees, or NULL without `wait`, or if not all have
 * written within two seconds (one has died). A busy node is slow, and waiting is better than
 * two tasks on one core.
 */
const struct na_sight *na_meeting_meet(struct na_meeting *meeting, int id, int tasks,
				       const struct na_sight *sight, bool wait);

/* True for only one task of the step, so that a message that applies to all is printed once. */
bool na_meeting_first_to_warn(struct na_meeting *meeting);

#endif
