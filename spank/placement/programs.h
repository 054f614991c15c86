/* Programs that place themselves, and the variable by which each is told that somebody else has. */
#ifndef NUMA_ALIGN_PROGRAMS_H
#define NUMA_ALIGN_PROGRAMS_H

struct na_program {
	const char *variable;
	const char *value; /* by which the program keeps the place that it finds */
};

/* Only what a program documents. The last one has no variable. */
extern const struct na_program na_programs[];

#endif
