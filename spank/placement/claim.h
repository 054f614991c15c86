/*
 * The claim: which of the step's cores belong to which claimant.
 *
 * Pure: no I/O, the same answer for the same input, memory bounded by the input. docs/claim.md
 * has the rules in words; tests/unit/test_claim_properties.py checks this file against them.
 */
#ifndef NUMA_ALIGN_CLAIM_H
#define NUMA_ALIGN_CLAIM_H

#include "request.h"

/*
 * Divides the CPUs of a request: slices[i] are those of owner i.
 *
 * Every core goes to the owner whose node is nearest (na_rank: a core of its own place is always
 * nearer than one of another). Owners at equal distance share by their weights, in contiguous runs in
 * the order of nodes and last-level caches. Cores of a place without a claimant stay unused, unless an
 * owner would have none; if they do not suffice, the owners with the most give some up. With fewer cores
 * than owners each owner has a seat at one core (seats.h), and no core is unused.
 *
 * Returns false only if there is no memory.
 */
bool na_claim(const struct na_machine *machine, const struct na_request *request, struct na_set *slices);

/*
 * The same claim; writes the union of the slices of the owners that `wanted` marks, and the CPUs that
 * no owner has.
 */
bool na_claim_some(const struct na_machine *machine, const struct na_request *request, const bool *wanted,
		   struct na_set *slice, struct na_set *idle);

#endif
