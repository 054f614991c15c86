/* CPU time of the parts of slurm_spank_task_init, which the linker's --wrap puts a clock around. */
#ifndef NUMA_ALIGN_BENCH_PARTS_H
#define NUMA_ALIGN_BENCH_PARTS_H

#include <stdbool.h>

enum part {
	TABLE,
	DEVICES,
	ACCESS,
	MEETING,
	CPUSET,
	PLACE,
	CALLS,
	REPORT,
	SETENV,
	PROGRAMS,
	ALL,
	FAULTS,
	PARTS
};

extern const char *const part_names[PARTS];
extern double part_spent[PARTS]; /* microseconds of CPU time since they were cleared; FAULTS is a number */
/* Reading that clock is itself a system call, so a part is timed only where this is set. */
extern bool part_by_part;

double part_now(void);
double part_begins(void);
void part_ends(enum part part, double start);

#define TIMED(part, call) \
	do { \
		const double start = part_begins(); \
\
		call; \
		part_ends(part, start); \
	} while (0)

/* Minor page faults of this process. */
long part_faults(void);

#endif
