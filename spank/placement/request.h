/* What a claim is asked: which CPUs are divided, and who claims them. */
#ifndef NUMA_ALIGN_REQUEST_H
#define NUMA_ALIGN_REQUEST_H

#include "machine.h"

/*
 * What claims cores: a task, or a GPU where it is not known which task uses it. It is at home on the
 * NUMA nodes of its GPUs, and has one such record for each of them.
 */
struct na_claimant {
	int owner; /* who it is: 0 to owners - 1 */
	int node; /* one of its NUMA nodes as a position in nodes[]; -1: unknown, nothing is claimed for it */
	int weight; /* how many of its GPUs are there, at least 1 */
};

struct na_request {
	const struct na_set *cpus; /* what is divided */
	const struct na_claimant *claimants; /* in the order in which neighbours get neighbouring cores */
	int count;
	int owners;
	/* For each owner: up to how many cores it is given idle ones of other places; NULL: none is. */
	const int *fill;
};

#endif
