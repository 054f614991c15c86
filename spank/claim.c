#include "claim.h"

#include <limits.h>
#include <stdlib.h>

#include "units.h"

#define OTHER_PACKAGE 256 /* more than any distance: a core of another package is always farther */

/*
 * A claim being made, in four steps: who shares which pool (a pool: the step's cores of one NUMA
 * node), how many units each member has of it, single units for those that would have none, and
 * which units these are. Tables are rows of claimants, one row a pool.
 */
struct claim {
	const struct na_machine *machine;
	const struct na_claimant *claimants;
	int count; /* of claimants */
	int live; /* claimants whose node is known */
	struct na_units units;
	int *rank; /* how far the pool is from the claimant: distance, OTHER_PACKAGE added */
	bool *member; /* the claimant shares the pool */
	int *share; /* units of the pool that it has */
	int *total; /* units that it has in all pools */
	int *order, *size, *start; /* scratch, a claimant each */
};

static bool has_cores(const struct na_machine *machine, int node)
{
	return !na_set_empty(&machine->nodes[node].cpus);
}

/*
 * Whether the cores of `node` are of another package than `home`. A home without cores of its own
 * (a GPU on a node that has only memory) is of the packages of the nodes nearest to it.
 */
static bool other_package(const struct na_machine *machine, int home, int node)
{
	int nearest = INT_MAX;

	if (has_cores(machine, home))
		return !na_same_package(machine, home, node);
	for (int i = 0; i < machine->node_count; i++)
		if (has_cores(machine, i) && na_distance(machine, home, i) < nearest)
			nearest = na_distance(machine, home, i);
	for (int i = 0; i < machine->node_count; i++)
		if (has_cores(machine, i) && na_distance(machine, home, i) == nearest &&
		    na_same_package(machine, i, node))
			return false;
	return true;
}

static int rank_of(const struct na_machine *machine, int home, int node)
{
	if (home < 0)
		return INT_MAX;
	if (node < 0)
		return OTHER_PACKAGE + NA_DISTANCE_UNKNOWN;
	/* Firmware has been seen to write tables in which a node is not nearest to itself. */
	if (home == node)
		return 0;
	return na_distance(machine, home, node) + (other_package(machine, home, node) ? OTHER_PACKAGE : 0);
}

static void find_ranks(struct claim *claim)
{
	for (int p = 0; p < claim->units.pool_count; p++) {
		int *rank = claim->rank + (size_t)p * (size_t)claim->count;

		for (int i = 0; i < claim->count; i++) {
			const int home = claim->claimants[i].node;
			const bool again = i > 0 && claim->claimants[i - 1].node == home;

			rank[i] = again ? rank[i - 1] : rank_of(claim->machine, home, claim->units.pools[p].node);
		}
	}
}

static bool is_member_anywhere(const struct claim *claim, int claimant)
{
	for (int p = 0; p < claim->units.pool_count; p++)
		if (claim->member[(size_t)p * (size_t)claim->count + (size_t)claimant])
			return true;
	return false;
}

static bool is_used(const struct claim *claim, int pool)
{
	for (int i = 0; i < claim->count; i++)
		if (claim->member[(size_t)pool * (size_t)claim->count + (size_t)i])
			return true;
	return false;
}

/* Gives a pool to the nearest of the claimants marked in `wanting`, if they are nearer than `limit`. */
static void give_to_nearest(struct claim *claim, int pool, const bool *wanting, int limit)
{
	const int *rank = claim->rank + (size_t)pool * (size_t)claim->count;
	bool *member = claim->member + (size_t)pool * (size_t)claim->count;
	int nearest = limit;

	for (int i = 0; i < claim->count; i++)
		if (wanting[i] && rank[i] < nearest)
			nearest = rank[i];
	for (int i = 0; i < claim->count; i++)
		if (wanting[i] && rank[i] == nearest && nearest < limit)
			member[i] = true;
}

/* Lets a claimant into the nearest pool that there is, beside those who have it. */
static void join_nearest(struct claim *claim, int claimant)
{
	const size_t row = (size_t)claim->count;
	int nearest = INT_MAX;

	for (int p = 0; p < claim->units.pool_count; p++)
		if (claim->rank[(size_t)p * row + (size_t)claimant] < nearest)
			nearest = claim->rank[(size_t)p * row + (size_t)claimant];
	for (int p = 0; p < claim->units.pool_count; p++)
		if (claim->rank[(size_t)p * row + (size_t)claimant] == nearest)
			claim->member[(size_t)p * row + (size_t)claimant] = true;
}

/* Marks the claimants with a node that share no pool yet and says whether there are any. */
static bool find_stranded(const struct claim *claim, bool *stranded)
{
	bool any = false;

	for (int i = 0; i < claim->count; i++) {
		stranded[i] = claim->claimants[i].node >= 0 && !is_member_anywhere(claim, i);
		any |= stranded[i];
	}
	return any;
}

/*
 * Who shares which pool. A pool goes to the nearest claimants of its package. A claimant that
 * gets no pool so takes part in those that nobody has, and only then in one that others have.
 */
static void find_members(struct claim *claim, bool *wanting)
{
	for (int i = 0; i < claim->count; i++)
		wanting[i] = claim->claimants[i].node >= 0;
	for (int p = 0; p < claim->units.pool_count; p++)
		give_to_nearest(claim, p, wanting, OTHER_PACKAGE);
	if (!find_stranded(claim, wanting))
		return;
	for (int p = 0; p < claim->units.pool_count; p++)
		if (!is_used(claim, p))
			give_to_nearest(claim, p, wanting, INT_MAX);
	if (!find_stranded(claim, wanting))
		return;
	for (int i = 0; i < claim->count; i++)
		if (wanting[i])
			join_nearest(claim, i);
}

/*
 * Shares a pool evenly. What is left over goes to those who have least so far, so that claimants
 * of the same nodes never differ by more than one unit over all their pools.
 */
static void share_pool(struct claim *claim, int pool)
{
	const bool *member = claim->member + (size_t)pool * (size_t)claim->count;
	int *share = claim->share + (size_t)pool * (size_t)claim->count;
	const int units = claim->units.pools[pool].count;
	int members = 0, most = 0, left;

	for (int i = 0; i < claim->count; i++)
		if (member[i]) {
			members++;
			most = claim->total[i] > most ? claim->total[i] : most;
		}
	if (!members)
		return;
	left = units % members;
	for (int least = 0; least <= most && left > 0; least++)
		for (int i = 0; i < claim->count && left > 0; i++)
			if (member[i] && claim->total[i] == least) {
				share[i] = 1;
				left--;
			}
	for (int i = 0; i < claim->count; i++)
		if (member[i]) {
			share[i] += units / members;
			claim->total[i] += share[i];
		}
}

/* The member that can best spare a unit of the pool: the richest, the last one of equals; or -1. */
static int find_donor(const struct claim *claim, int pool)
{
	const int *share = claim->share + (size_t)pool * (size_t)claim->count;
	int donor = -1;

	for (int i = 0; i < claim->count; i++)
		if (share[i] > 0 && claim->total[i] > 1 &&
		    (donor < 0 || claim->total[i] >= claim->total[donor]))
			donor = i;
	return donor;
}

static int units_left(const struct claim *claim, int pool)
{
	int left = claim->units.pools[pool].count;

	for (int i = 0; i < claim->count; i++)
		left -= claim->share[(size_t)pool * (size_t)claim->count + (size_t)i];
	return left;
}

/* The nearest pool, to any claimant that has nothing, in which there is a unit to spare. */
static bool find_gift(const struct claim *claim, const bool *exhausted, int *pool, int *claimant)
{
	int nearest = INT_MAX;

	for (int i = 0; i < claim->count; i++) {
		if (claim->claimants[i].node < 0 || claim->total[i] > 0)
			continue;
		for (int p = 0; p < claim->units.pool_count; p++) {
			const int rank = claim->rank[(size_t)p * (size_t)claim->count + (size_t)i];

			if (!exhausted[p] && rank < nearest) {
				nearest = rank;
				*pool = p;
				*claimant = i;
			}
		}
	}
	return nearest < INT_MAX;
}

/*
 * More claimants than units around a node, but enough in the step: those who went empty get one
 * unit each, the nearest pairs first, so that nobody holds a core for which another, nearer
 * claimant still has none.
 */
static void give_single_units(struct claim *claim, bool *exhausted)
{
	int pool, claimant;

	for (int p = 0; p < claim->units.pool_count; p++)
		exhausted[p] = false;
	while (find_gift(claim, exhausted, &pool, &claimant)) {
		if (units_left(claim, pool) <= 0) {
			const int donor = find_donor(claim, pool);

			if (donor < 0) {
				exhausted[pool] = true;
				continue;
			}
			claim->share[(size_t)pool * (size_t)claim->count + (size_t)donor]--;
			claim->total[donor]--;
		}
		claim->share[(size_t)pool * (size_t)claim->count + (size_t)claimant] = 1;
		claim->total[claimant] = 1;
	}
}

/* Fewer units than members: member i of m has unit i * units / m, so some units have several. */
static void overlap_pool(const struct claim *claim, int pool, struct na_set *slices)
{
	const bool *member = claim->member + (size_t)pool * (size_t)claim->count;
	const struct na_pool *units = &claim->units.pools[pool];
	int members = 0, position = 0;

	for (int i = 0; i < claim->count; i++)
		members += member[i];
	for (int i = 0; i < claim->count; i++)
		if (member[i]) {
			na_units_take(&claim->units, units->first + position * units->count / members, 1, &slices[i]);
			position++;
		}
}

static void lay_pool(struct claim *claim, int pool, struct na_set *slices)
{
	const int *share = claim->share + (size_t)pool * (size_t)claim->count;
	int runs = 0;

	for (int i = 0; i < claim->count; i++)
		if (share[i] > 0) {
			claim->order[runs] = i;
			claim->size[runs] = share[i];
			runs++;
		}
	na_units_lay(&claim->units, claim->units.pools[pool].first, claim->size, runs, claim->start);
	for (int i = 0; i < runs; i++)
		na_units_take(&claim->units, claim->start[i], claim->size[i], &slices[claim->order[i]]);
}

static int members_of(const struct claim *claim, int pool)
{
	int members = 0;

	for (int i = 0; i < claim->count; i++)
		members += claim->member[(size_t)pool * (size_t)claim->count + (size_t)i];
	return members;
}

static void deal(struct claim *claim, bool *scratch, struct na_set *slices)
{
	const bool enough = claim->units.count >= claim->live;

	find_ranks(claim);
	find_members(claim, scratch);
	for (int p = 0; p < claim->units.pool_count; p++)
		if (enough || claim->units.pools[p].count >= members_of(claim, p))
			share_pool(claim, p);
	if (enough)
		give_single_units(claim, scratch);
	for (int p = 0; p < claim->units.pool_count; p++)
		if (enough || claim->units.pools[p].count >= members_of(claim, p))
			lay_pool(claim, p, slices);
		else
			overlap_pool(claim, p, slices);
}

bool na_claim(const struct na_machine *machine, const struct na_set *step,
	      const struct na_claimant *claimants, int count, struct na_set *slices)
{
	struct claim claim = { .machine = machine, .claimants = claimants, .count = count };
	size_t row = (size_t)(count > 0 ? count : 1), cells;
	bool *scratch;
	bool done;

	for (int i = 0; i < count; i++) {
		na_set_clear(&slices[i]);
		claim.live += claimants[i].node >= 0;
	}
	if (!na_units_init(&claim.units, machine, step, claim.live))
		return false;
	cells = row * (size_t)(claim.units.pool_count + 1);
	claim.rank = calloc(cells, sizeof(*claim.rank));
	claim.member = calloc(cells, sizeof(*claim.member));
	claim.share = calloc(cells, sizeof(*claim.share));
	claim.total = calloc(4 * row, sizeof(*claim.total));
	scratch = calloc(row + (size_t)claim.units.pool_count, sizeof(*scratch));
	done = claim.rank && claim.member && claim.share && claim.total && scratch;
	if (done) {
		claim.order = claim.total + row;
		claim.size = claim.total + 2 * row;
		claim.start = claim.total + 3 * row;
		if (claim.live > 0 && claim.units.count > 0)
			deal(&claim, scratch, slices);
	}
	free(claim.rank);
	free(claim.member);
	free(claim.share);
	free(claim.total);
	free(scratch);
	na_units_free(&claim.units);
	return done;
}

bool na_claim_part(const struct na_machine *machine, const struct na_set *cpus, int part, int parts,
		   struct na_set *slice)
{
	struct na_units units;
	int *size, *start;
	bool done;

	na_set_clear(slice);
	if (!na_units_init(&units, machine, cpus, parts))
		return false;
	size = calloc((size_t)parts, sizeof(*size));
	start = calloc((size_t)parts, sizeof(*start));
	done = size && start;
	if (done && units.count >= parts) {
		for (int i = 0; i < parts; i++)
			size[i] = units.count / parts + (i < units.count % parts);
		na_units_lay(&units, 0, size, parts, start);
		na_units_take(&units, start[part], size[part], slice);
	} else if (done && units.count > 0) {
		na_units_take(&units, part * units.count / parts, 1, slice);
	}
	free(size);
	free(start);
	na_units_free(&units);
	return done;
}
