/* The latency of memory: a chain of loads, each of which needs the one before. Only for Python. */
#ifndef NUMA_ALIGN_CHASE_H
#define NUMA_ALIGN_CHASE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Nanoseconds per load, once for each of `runs`, in `size` bytes of new memory, placed by the calling
 * thread's policy: a random cycle through all its cache lines, in huge pages if the kernel gives them. False
 * without memory.
 */
bool na_chase(size_t size, size_t loads, int runs, double *nanoseconds);

#endif
