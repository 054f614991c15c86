/* What happens in slurmstepd: once per step and node, then once per task. */
#ifndef NUMA_ALIGN_HOOKS_H
#define NUMA_ALIGN_HOOKS_H

#include <slurm/spank.h>

/* slurm_spank_user_init: with the user's rights, before the tasks are forked. Nothing is bound yet. */
void na_stepd_begin(spank_t spank);

/* slurm_spank_task_init: in the task, after Slurm has bound it, before exec. */
void na_stepd_task(spank_t spank);

#endif
