/*
 * The claim: which of the step's cores belong to which claimant.
 *
 * Pure: no I/O, the same answer for the same input, memory bounded by the input. docs/claim.md
 * tells the rules in words; tests/unit/test_claim_properties.py holds this file to them.
 */
#ifndef NUMA_ALIGN_CLAIM_H
#define NUMA_ALIGN_CLAIM_H

#include "machine.h"

/* A GPU of the step or, in a step without GPUs, a task. */
struct na_claimant {
	int node; /* its NUMA node as a position in nodes[]; -1: unknown, it gets nothing */
};

/*
 * Divides the CPUs of `step` among the claimants: slices[i] are those of claimants[i].
 *
 * Every core goes to the claimant whose node is nearest (na_rank: a core of its own package is
 * always nearer than one of another). Claimants at equal distance share evenly, in contiguous
 * runs in the order of last-level caches. Cores of a package without a claimant stay unused,
 * unless a claimant would have none; if they do not suffice, those who have most give.
 *
 * Returns false only if there is no memory.
 */
bool na_claim(const struct na_machine *machine, const struct na_set *step,
	      const struct na_claimant *claimants, int count, struct na_set *slices);

/* The same claim; gives the union of the slices of those claimants that `wanted` marks. */
bool na_claim_some(const struct na_machine *machine, const struct na_set *step,
		   const struct na_claimant *claimants, int count, const bool *wanted, struct na_set *slice);

/*
 * Divides a set of CPUs into `parts` contiguous runs, in the order of nodes and last-level
 * caches, as even as can be: whole cores, or CPUs if there are fewer cores than parts, or shared
 * ones if there are fewer CPUs. Gives part number `part` (from 0).
 */
bool na_claim_part(const struct na_machine *machine, const struct na_set *cpus, int part, int parts,
		   struct na_set *slice);

#endif
