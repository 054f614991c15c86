/* The input of a claim: which CPUs are divided, and who claims them. */
#ifndef NUMA_ALIGN_REQUEST_H
#define NUMA_ALIGN_REQUEST_H

#include "machine.h"

/*
 * What claims cores: a task, or a GPU if it is unknown which task uses it. It is at home on the
 * NUMA nodes of its GPUs, with one such record for each of them.
 */
struct na_claimant {
	int owner; /* the owner's number: 0 to owners - 1 */
	int node; /* one of its NUMA nodes as a position in nodes[]; -1: unknown, nothing is claimed for it */
	int weight; /* how many of its GPUs are on that node, at least 1 */
};

struct na_request {
	const struct na_set *cpus; /* what is divided */
	const struct na_claimant *claimants; /* in the order in which neighbours get neighbouring cores */
	int count;
	int owners;
	/* For each owner: up to how many cores it also gets idle ones of other places; NULL: none does. */
	const int *fill;
};

#endif
