/* How full NUMA nodes are: what is free, and how much page cache can be dropped at once. */
#ifndef NUMA_ALIGN_NODE_MEMORY_H
#define NUMA_ALIGN_NODE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "placement/bitset.h"

struct na_node_memory {
	uint64_t free_mb;
	uint64_t clean_mb; /* page cache that no program has mapped and that need not be written first */
};

/* The sum over the nodes, with one bounded read each. False if the kernel does not report one of them. */
bool na_node_memory_read(const struct na_set *nodes, struct na_node_memory *memory);

#endif
