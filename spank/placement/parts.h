/* Even parts of a set of CPUs, for tasks without GPUs and for workers. */
#ifndef NUMA_ALIGN_PARTS_H
#define NUMA_ALIGN_PARTS_H

#include "machine.h"

/*
 * Divides a set of CPUs into `parts` contiguous runs, in the order of nodes and last-level
 * caches, as evenly as possible: whole cores, or CPUs if there are fewer cores than parts, or shared
 * CPUs if there are fewer of these too. Writes part number `part` (from 0).
 */
bool na_claim_part(const struct na_machine *machine, const struct na_set *cpus, int part, int parts,
		   struct na_set *slice);

#endif
