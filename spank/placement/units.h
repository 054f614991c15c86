/* What is dealt out: the cores (or single CPUs) of a set, in the order in which they are dealt. */
#ifndef NUMA_ALIGN_UNITS_H
#define NUMA_ALIGN_UNITS_H

#include "machine.h"

struct na_unit {
	const struct na_core *core;
	int cpu; /* one CPU of the core, or -1: all CPUs of the core that are in the set */
};

/* The units of one NUMA node: units[first .. first + count - 1]. */
struct na_pool {
	int node; /* position in nodes[], -1 unknown */
	int first, count;
};

struct na_units {
	struct na_set cpus; /* the set that is dealt */
	struct na_unit *units; /* ordered by node, last-level cache, CPU */
	struct na_pool *pools; /* the nodes that have units, in their order */
	int count, pool_count;
};

/*
 * Cuts a set into units for `claimants`: cores if there are enough of them, so that SMT
 * siblings stay together, otherwise CPUs. False if there is no memory.
 */
bool na_units_init(struct na_units *units, const struct na_machine *machine, const struct na_set *cpus,
		   int claimants);
void na_units_free(struct na_units *units);

/* Adds the CPUs of units[from .. from + count - 1] to a set. */
void na_units_take(const struct na_units *units, int from, int count, struct na_set *into);

/* How many CPUs a unit has in the set. */
int na_units_threads(const struct na_units *units, int unit);

/* Adds CPUs number from .. to - 1 of those to a set. */
void na_units_take_threads(const struct na_units *units, int unit, int from, int to, struct na_set *into);

/*
 * Lays `runs` contiguous runs of the given sizes over the units from `first` on and writes where
 * each starts. Runs keep their order unless sizes differ by one and another order of the larger
 * ones keeps every run inside a last-level cache.
 */
void na_units_lay(const struct na_units *units, int first, const int *size, int runs, int *start);

#endif
