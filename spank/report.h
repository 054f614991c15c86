/* What a task learns about its placement: environment and lines for people. */
#ifndef NUMA_ALIGN_REPORT_H
#define NUMA_ALIGN_REPORT_H

#include <slurm/spank.h>

#include "placement/step.h"

/* Sets NUMA_ALIGN_STATE, _GPUS, _CPUS, _MEMS and, for several GPUs, _MAP in the task's environment. */
void na_report_environment(spank_t spank, const struct na_step *step, const struct na_placement *placement);

/* In a rehearsal: removes the others; NUMA_ALIGN_DRY says what they would be, for `numa-align audit`. */
void na_report_rehearsed(spank_t spank, const struct na_machine *machine,
			 const struct na_placement *placement);

/* Removes the variables of a surrounding step, which do not apply to this one. */
void na_report_nothing(spank_t spank);

/* The text after CPUs or policy in the line: the option or variable by which the user set them, or NULL. */
struct na_explicit {
	const char *cpus, *mem;
};

/* Tells programs that would undo the binding to keep it, unless the user has set their variables. */
void na_report_programs(spank_t spank, const struct na_machine *machine,
			const struct na_placement *placement);

/*
 * With nic: tells libraries which cards are the task's, unless the user has set their variables; with
 * verbose, says what was set, or why nothing was.
 */
void na_report_libraries(spank_t spank, int global_id, const struct na_machine *machine,
			 const struct na_placement *placement, bool verbose);

/* The line of --numa-align=verbose; `memory` is "" or what the nodes have, with a leading blank. */
void na_report_task(int global_id, const struct na_machine *machine, const struct na_placement *placement,
		    struct na_explicit explicit, const char *memory, long microseconds);

#endif
