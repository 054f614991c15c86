/* Communication libraries, and the variables by which each uses the network cards of a task. Pure. */
#ifndef NUMA_ALIGN_LIBRARIES_H
#define NUMA_ALIGN_LIBRARIES_H

#include "step.h"

/* docs/nics.md has the sources, and tells which libraries choose better without them. */
enum na_library { NA_LIBRARY_UCX, NA_LIBRARY_CRAY_MPICH };
#define NA_LIBRARIES 2

/* "" for any other number. */
const char *na_library_variable(enum na_library library);

/* The variable's value for a task with this placement; false if it should not be set. */
bool na_library_text(const struct na_machine *machine, const struct na_placement *placement,
		     enum na_library library, char *text, size_t size);

#endif
