/* The latency of memory: a chain of loads of which each needs the one before. For Python; the plugin has none of it. */
#ifndef NUMA_ALIGN_CHASE_H
#define NUMA_ALIGN_CHASE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Nanoseconds of one load, once for each of `runs`, in `size` bytes of new memory that the calling thread's policy
 * places: a random cycle through all its cache lines, in huge pages where the kernel gives them. False without memory.
 */
bool na_chase(size_t size, size_t loads, int runs, double *nanoseconds);

#endif
