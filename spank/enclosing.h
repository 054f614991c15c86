/*
 * Who decided a binding: the option of this srun, a variable that the user set, or the step around
 * srun. Only srun can tell them apart: slurmstepd is sent SLURM_CPU_BIND as srun has written it again.
 */
#ifndef NUMA_ALIGN_ENCLOSING_H
#define NUMA_ALIGN_ENCLOSING_H

#include <slurm/spank.h>

enum na_decider { NA_BY_OPTION, NA_BY_VARIABLE, NA_BY_ENCLOSING_STEP };

/* In srun: looks at its own environment and command line, and leaves what it found for slurmstepd. */
void na_enclosing_tell(void);

/*
 * In slurmstepd. Nothing depends on the answer but whose word a binding of the user's own step is,
 * so it does not matter that a user could write the variable.
 */
void na_enclosing_read(spank_t spank, enum na_decider *cpus, enum na_decider *mem);

/* The variable, so that it can be taken out of the tasks' environment. */
#define NA_ENCLOSING_VARIABLE "SLURM_NUMA_ALIGN_BIND"

#endif
