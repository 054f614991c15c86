/*
 * What decided a binding: the option of this srun, a variable that the user set, or the step around
 * srun. Only srun can tell them apart: slurmstepd receives SLURM_CPU_BIND as srun has rewritten it.
 */
#ifndef NUMA_ALIGN_ENCLOSING_H
#define NUMA_ALIGN_ENCLOSING_H

#include <slurm/spank.h>

enum na_decider { NA_BY_OPTION, NA_BY_VARIABLE, NA_BY_ENCLOSING_STEP };

/* In srun: examines its own environment and command line, and passes the result to slurmstepd. */
void na_enclosing_tell(void);

/*
 * In slurmstepd. The answer only decides whether a binding of the user's own step counts as the user's,
 * so it does not matter that a user could write the variable.
 */
void na_enclosing_read(spank_t spank, enum na_decider *cpus, enum na_decider *mem);

/* The variable's name, for its removal from the tasks' environment. */
#define NA_ENCLOSING_VARIABLE "SLURM_NUMA_ALIGN_BIND"

#endif
