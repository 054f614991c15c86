#include "units.h"

#include <stdlib.h>

static int threads_in(const struct na_core *core, const struct na_set *cpus)
{
	int count = 0;

	for (int i = 0; i < core->threads; i++)
		count += na_set_has(cpus, core->cpu[i]);
	return count;
}

static void add_core(struct na_units *units, const struct na_core *core, bool whole)
{
	for (int i = 0; i < core->threads; i++) {
		if (!na_set_has(&units->cpus, core->cpu[i]))
			continue;
		units->units[units->count].core = core;
		units->units[units->count].cpu = whole ? -1 : core->cpu[i];
		units->count++;
		if (whole)
			return;
	}
}

static void find_pools(struct na_units *units)
{
	for (int i = 0; i < units->count; i++) {
		const int node = units->units[i].core->node;
		struct na_pool *pool = units->pools + units->pool_count;

		if (i > 0 && pool[-1].node == node) {
			pool[-1].count++;
			continue;
		}
		pool->node = node;
		pool->first = i;
		pool->count = 1;
		units->pool_count++;
	}
}

bool na_units_init(struct na_units *units, const struct na_machine *machine, const struct na_set *cpus,
		   int claimants)
{
	int cores = 0, threads = 0;
	size_t room;

	*units = (struct na_units){ .cpus = *cpus };
	for (int i = 0; i < machine->core_count; i++) {
		const int mine = threads_in(&machine->cores[i], cpus);

		threads += mine;
		cores += mine > 0;
	}
	room = (size_t)(cores >= claimants ? cores : threads);
	units->units = calloc(room ? room : 1, sizeof(*units->units));
	units->pools = calloc((size_t)machine->node_count + 1, sizeof(*units->pools));
	if (!units->units || !units->pools) {
		na_units_free(units);
		return false;
	}
	/* The machine's cores already are in the required order. */
	for (int i = 0; i < machine->core_count; i++)
		add_core(units, &machine->cores[i], cores >= claimants);
	find_pools(units);
	return true;
}

void na_units_free(struct na_units *units)
{
	free(units->units);
	free(units->pools);
	units->units = NULL;
	units->pools = NULL;
}

void na_units_take(const struct na_units *units, int from, int count, struct na_set *into)
{
	for (int i = from; i < from + count; i++) {
		const struct na_unit *unit = &units->units[i];

		for (int t = 0; t < unit->core->threads; t++) {
			const int cpu = unit->core->cpu[t];

			if (unit->cpu < 0 ? na_set_has(&units->cpus, cpu) : unit->cpu == cpu)
				na_set_add(into, cpu);
		}
	}
}

int na_units_threads(const struct na_units *units, int unit)
{
	return units->units[unit].cpu < 0 ? threads_in(units->units[unit].core, &units->cpus) : 1;
}

void na_units_take_threads(const struct na_units *units, int unit, int from, int to, struct na_set *into)
{
	const struct na_core *core = units->units[unit].core;
	int number = 0;

	for (int t = 0; t < core->threads; t++) {
		if (!na_set_has(&units->cpus, core->cpu[t]))
			continue;
		if (number >= from && number < to)
			na_set_add(into, core->cpu[t]);
		number++;
	}
}

/*
 * How many units from `at` on, at most `limit`, share one last-level cache. A cache that serves
 * several nodes (sub-NUMA clusters) counts as one per node.
 */
static int cache_length(const struct na_units *units, int at, int limit)
{
	const struct na_core *first = units->units[at].core;
	int length = 1;

	while (length < limit && units->units[at + length].core->llc == first->llc &&
	       units->units[at + length].core->node == first->node)
		length++;
	return length;
}

/*
 * A cache of L units holds k runs exactly if k * small <= L <= k * (small + 1); it then holds
 * L - k * small of the larger ones. A layout without crossing exists exactly if every cache has
 * such a k and these can add up to the number of runs, as each k may be any number in an
 * interval. So no search is needed: start from the least k and raise those of the first caches.
 */
static bool caches_can_hold(const struct na_units *units, int first, int total, int small, int runs,
			    int *spare)
{
	int least = 0, most = 0;

	for (int at = first; at < first + total;) {
		const int length = cache_length(units, at, first + total - at);
		const int low = (length + small) / (small + 1);
		const int high = length / small;

		if (low > high)
			return false;
		least += low;
		most += high;
		at += length;
	}
	*spare = runs - least;
	return least <= runs && runs <= most;
}

/* The next run of this size without a place, from *cursor on. */
static int next_of_size(const int *size, int runs, int wanted, int *cursor)
{
	while (*cursor < runs && size[*cursor] != wanted)
		(*cursor)++;
	return (*cursor)++;
}

static void lay_in_caches(const struct na_units *units, int first, int total, const int *size, int runs,
			  int small, int spare, int *start)
{
	int next_small = 0, next_large = 0;

	for (int at = first; at < first + total;) {
		const int length = cache_length(units, at, first + total - at);
		const int low = (length + small) / (small + 1);
		const int high = length / small;
		const int raise = high - low < spare ? high - low : spare;
		int large = length - (low + raise) * small;

		spare -= raise;
		for (int end = at + length; at < end;) {
			const int wanted = large > 0 ? small + 1 : small;
			int *cursor = large > 0 ? &next_large : &next_small;
			const int run = next_of_size(size, runs, wanted, cursor);

			if (run >= runs)
				return;
			start[run] = at;
			at += wanted;
			large--;
		}
	}
}

void na_units_lay(const struct na_units *units, int first, const int *size, int runs, int *start)
{
	int total = 0, small = runs ? size[0] : 0, large = small, spare;

	for (int i = 0, at = first; i < runs; i++) {
		start[i] = at;
		at += size[i];
		total += size[i];
		small = size[i] < small ? size[i] : small;
		large = size[i] > large ? size[i] : large;
	}
	if (small > 0 && large == small + 1 && caches_can_hold(units, first, total, small, runs, &spare))
		lay_in_caches(units, first, total, size, runs, small, spare, start);
}
