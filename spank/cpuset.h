/* The CPUs of the step, as Linux numbers: a task is never bound beyond them. */
#ifndef NUMA_ALIGN_CPUSET_H
#define NUMA_ALIGN_CPUSET_H

#include <slurm/spank.h>

#include "placement/bitset.h"

/* Call in user_init: keeps what only slurmstepd itself receives. */
void na_cpuset_remember(spank_t spank);

/* Call in the task. The mask of the process is wide afterwards; the caller sets the final one. */
void na_cpuset_of_step(spank_t spank, const struct na_set *mask, struct na_set *cpus);

#endif
