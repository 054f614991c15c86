/* The option in srun, sbatch, salloc and slurmstepd, and the order of the sources of its words. */
#ifndef NUMA_ALIGN_OPTION_H
#define NUMA_ALIGN_OPTION_H

#include <slurm/spank.h>

#include "placement/spec.h"

/* Registers --numa-align. Legal in slurm_spank_init only (spank(7)). */
void na_option_register(spank_t spank);

/* Reads the arguments in plugstack.conf, the site's defaults. A wrong one is logged and not fatal. */
void na_option_site(int count, char **arguments);

/* In srun: whether the step may become aligned, by the option, the environment or the site. */
bool na_option_on_here(void);

/*
 * What applies to this step: command line, environment, plugstack.conf, built-in, in this order.
 * For slurmstepd; `by_user`: somebody asked for this step, not only the site's default. `warning` gets a
 * sentence if NUMA_ALIGN is wrong, otherwise "".
 */
struct na_spec na_option_resolve(spank_t spank, bool *by_user, char *warning, size_t size);

/* Whether the user (or the job's script) gave the option on the command line, with any words. */
bool na_option_given(void);

/* Whether the site's default is on, regardless of its exceptions. */
bool na_option_site_on(void);

/* Whether the site only rehearses: nothing is set in steps for which only the site asked. */
bool na_option_site_dry(void);

#endif
