/* Programs that place themselves, and the variables that tell them that they have been placed. */
#ifndef NUMA_ALIGN_PROGRAMS_H
#define NUMA_ALIGN_PROGRAMS_H

struct na_program {
	const char *variable;
	const char *value; /* makes the program keep its present placement */
};

/* Only what a program documents. The last entry has no variable. */
extern const struct na_program na_programs[];

#endif
