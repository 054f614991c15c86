/*
 * The claim: which of the step's cores belong to which claimant.
 *
 * Pure: no I/O, the same answer for the same input, memory bounded by the input. docs/claim.md
 * tells the rules in words; tests/unit/test_claim_properties.py holds this file to them.
 */
#ifndef NUMA_ALIGN_CLAIM_H
#define NUMA_ALIGN_CLAIM_H

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

/*
 * Divides the CPUs of a request: slices[i] are those of owner i.
 *
 * Every core goes to the owner whose node is nearest (na_rank: a core of its own place is always
 * nearer than one of another). Owners at equal distance share by their weights, in contiguous runs in
 * the order of nodes and last-level caches. Cores of a place without a claimant stay unused, unless an
 * owner would have none; if they do not suffice, those who have most give. With fewer cores than
 * owners each owner has a seat at one core (seats.h), and no core is unused.
 *
 * Returns false only if there is no memory.
 */
bool na_claim(const struct na_machine *machine, const struct na_request *request, struct na_set *slices);

/*
 * The same claim; gives the union of the slices of those owners that `wanted` marks, and the CPUs that
 * nobody has.
 */
bool na_claim_some(const struct na_machine *machine, const struct na_request *request, const bool *wanted,
		   struct na_set *slice, struct na_set *idle);

/*
 * Divides a set of CPUs into `parts` contiguous runs, in the order of nodes and last-level
 * caches, as even as can be: whole cores, or CPUs if there are fewer cores than parts, or shared
 * ones if there are fewer CPUs. Gives part number `part` (from 0).
 */
bool na_claim_part(const struct na_machine *machine, const struct na_set *cpus, int part, int parts,
		   struct na_set *slice);

#endif
