#include "claim.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "quotas.h"
#include "units.h"

/* Claimants at home on one node: alike in all that counts here. */
struct group {
	int node; /* position in nodes[] */
	int first, size; /* members[first .. first + size - 1] */
};

/* A pool (the step's cores of one NUMA node) as seen from a group. */
struct pair {
	int rank; /* na_rank() */
	int pool, group;
};

/* Units of a pool that a claimant gets. */
struct grant {
	int pool, claimant, units;
};

/*
 * A claim being made. Pools are shared out nearest pairs first: once without looking at other
 * packages, and if that leaves a claimant empty once more with a bound for each (find_quotas).
 * Last, the units themselves are laid out. Whatever the bounds, giving the nearest pairs first
 * makes sure that nobody holds a far unit while a nearer one is unused or with somebody who is
 * farther from it.
 */
struct claim {
	const struct na_machine *machine;
	int count; /* of claimants */
	int live; /* of those whose node is known */
	int copies; /* claimants that may share a unit: 1 unless there are fewer units than claimants */
	struct na_units units;
	struct group *groups;
	struct pair *pairs; /* by rank, then pool, then group */
	struct grant *grants;
	int group_count, pair_count, grant_count;
	int *numbers; /* room for the arrays below */
	int *quota, *total, *got; /* a claimant: units that it may have, has, has of the pool at hand */
	int *members, *takers; /* claimants group after group, each in its order; scratch */
	int *left; /* a pool: units that nobody has */
	int *sorted, *size, *start; /* a grant: scratch */
	/* Where the result goes: to a set for each claimant, or those `wanted` to one. */
	struct na_set *slices;
	const bool *wanted;
};

static int smaller(int a, int b)
{
	return a < b ? a : b;
}

static bool find_groups(struct claim *claim, const struct na_claimant *claimants)
{
	int *next = calloc((size_t)claim->machine->node_count, sizeof(*next));
	int at = 0;

	if (!next)
		return false;
	for (int i = 0; i < claim->count; i++)
		if (claimants[i].node >= 0)
			next[claimants[i].node]++;
	for (int n = 0; n < claim->machine->node_count; n++) {
		const int size = next[n];

		next[n] = at;
		if (size)
			claim->groups[claim->group_count++] = (struct group){ n, at, size };
		at += size;
	}
	for (int i = 0; i < claim->count; i++)
		if (claimants[i].node >= 0)
			claim->members[next[claimants[i].node]++] = i;
	free(next);
	return true;
}

/* All pairs of a pool and a group, sorted by counting, which keeps the order of equals. */
static bool find_pairs(struct claim *claim)
{
	const int pools = claim->units.pool_count, count = pools * claim->group_count;
	struct pair *found = calloc((size_t)count, sizeof(*found));
	int next[NA_RANKS + 1] = { 0 };

	claim->pairs = calloc((size_t)count, sizeof(*claim->pairs));
	if (!found || !claim->pairs) {
		free(found);
		return false;
	}
	for (int p = 0; p < pools; p++)
		for (int g = 0; g < claim->group_count; g++) {
			const int rank =
				na_rank(claim->machine, claim->groups[g].node, claim->units.pools[p].node);

			found[claim->pair_count++] = (struct pair){ rank, p, g };
			next[rank + 1]++;
		}
	for (int r = 0; r < NA_RANKS; r++)
		next[r + 1] += next[r];
	for (int i = 0; i < count; i++)
		claim->pairs[next[found[i].rank]++] = found[i];
	free(found);
	return true;
}

/* Takes those who have their quota out of a list of claimants, which keeps its order. */
static int drop_full(const struct claim *claim, int *list, int count)
{
	int kept = 0;

	for (int i = 0; i < count; i++)
		if (claim->total[list[i]] < claim->quota[list[i]])
			list[kept++] = list[i];
	return kept;
}

static void give(struct claim *claim, int claimant, int units)
{
	claim->got[claimant] += units;
	claim->total[claimant] += units;
}

/*
 * One unit each to those who have least, the first of equals first; there are more takers than
 * units. So claimants of the same nodes never differ by more than one unit over all their pools.
 */
static void give_left_overs(struct claim *claim, int units, int *takers, int count)
{
	while (units > 0) {
		int least = INT_MAX, kept = 0;

		for (int i = 0; i < count; i++)
			least = smaller(least, claim->total[takers[i]]);
		for (int i = 0; i < count; i++) {
			if (claim->total[takers[i]] != least || units == 0) {
				takers[kept++] = takers[i];
				continue;
			}
			give(claim, takers[i], 1);
			units--;
		}
		count = kept;
	}
}

/* Shares units evenly among claimants within their quotas and returns how many are left. */
static int share_evenly(struct claim *claim, int units, int *takers, int count)
{
	int each;

	while ((count = drop_full(claim, takers, count)) > 0 && (each = units / count) > 0)
		for (int i = 0; i < count; i++) {
			const int room = claim->quota[takers[i]] - claim->total[takers[i]];

			give(claim, takers[i], smaller(each, room));
			units -= smaller(each, room);
		}
	if (!count)
		return units;
	give_left_overs(claim, units, takers, count);
	return 0;
}

/* Shares a pool among the groups of pairs[from .. to - 1], for which it is equally near. */
static void share_pool(struct claim *claim, int from, int to)
{
	const int pool = claim->pairs[from].pool;
	int count = 0;

	if (!claim->left[pool])
		return;
	for (int i = from; i < to; i++) {
		const struct group *group = &claim->groups[claim->pairs[i].group];

		for (int m = 0; m < group->size; m++)
			claim->takers[count++] = claim->members[group->first + m];
	}
	claim->left[pool] = share_evenly(claim, claim->left[pool], claim->takers, count);
	for (int i = from; i < to; i++) {
		const struct group *group = &claim->groups[claim->pairs[i].group];

		for (int m = group->first; m < group->first + group->size; m++) {
			const int claimant = claim->members[m];

			if (claim->got[claimant])
				claim->grants[claim->grant_count++] =
					(struct grant){ pool, claimant, claim->got[claimant] };
			claim->got[claimant] = 0;
		}
	}
}

/* Shares all pools, as far as pairs are nearer than `limit`. */
static void share_pools(struct claim *claim, int limit)
{
	const struct pair *pairs = claim->pairs;

	claim->grant_count = 0;
	for (int i = 0; i < claim->count; i++)
		claim->total[i] = 0;
	for (int p = 0; p < claim->units.pool_count; p++)
		claim->left[p] = claim->units.pools[p].count * claim->copies;
	for (int from = 0, to; from < claim->pair_count && pairs[from].rank < limit; from = to) {
		for (to = from + 1; to < claim->pair_count; to++)
			if (pairs[to].rank != pairs[from].rank || pairs[to].pool != pairs[from].pool)
				break;
		share_pool(claim, from, to);
	}
}

/*
 * How many units each claimant may have, after share_pools() has left some empty though there
 * are units enough. A claimant without a pool of its own package is due an even share, one whose
 * pools were too small one unit. If the units that nobody has are enough for them, they share
 * those and the others keep all they have; otherwise the richest give.
 */
static void find_quotas(struct claim *claim)
{
	int needy = 0, unused = 0;

	for (int p = 0; p < claim->units.pool_count; p++)
		unused += claim->left[p];
	for (int g = 0; g < claim->group_count; g++) {
		const int *members = claim->members + claim->groups[g].first;
		bool stray = true;

		for (int m = 0; m < claim->groups[g].size; m++)
			stray &= claim->total[members[m]] == 0;
		for (int m = 0; m < claim->groups[g].size; m++) {
			const int total = claim->total[members[m]];

			claim->quota[members[m]] = total ? total : stray ? INT_MAX : 1;
			if (!total)
				claim->takers[needy++] = members[m];
		}
	}
	if (unused >= needy)
		na_level(claim->quota, claim->takers, needy, unused);
	else
		na_level(claim->quota, claim->members, claim->live, claim->units.count);
}

static bool somebody_is_empty(const struct claim *claim)
{
	for (int i = 0; i < claim->live; i++)
		if (!claim->total[claim->members[i]])
			return true;
	return false;
}

static void share_all(struct claim *claim)
{
	const bool enough = claim->units.count >= claim->live;

	claim->copies = enough ? 1 : (claim->live + claim->units.count - 1) / claim->units.count;
	for (int i = 0; i < claim->count; i++)
		claim->quota[i] = enough ? INT_MAX : 1;
	share_pools(claim, enough ? NA_RANK_OTHER_PACKAGE : NA_RANKS);
	if (enough && somebody_is_empty(claim)) {
		find_quotas(claim);
		share_pools(claim, NA_RANKS);
	}
}

/* Lays out the units of a pool for some of its grants; with more grants than units they overlap. */
static void lay_pool(struct claim *claim, int pool, const int *grants, int count)
{
	const int first = claim->units.pools[pool].first, units = claim->units.pools[pool].count;

	for (int i = 0; i < count; i++)
		claim->size[i] = claim->grants[grants[i]].units;
	if (count <= units)
		na_units_lay(&claim->units, first, claim->size, count, claim->start);
	else
		for (int i = 0; i < count; i++)
			claim->start[i] = first + i * units / count;
	for (int i = 0; i < count; i++) {
		const int claimant = claim->grants[grants[i]].claimant;

		if (!claim->wanted || claim->wanted[claimant])
			na_units_take(&claim->units, claim->start[i], claim->size[i],
				      claim->wanted ? claim->slices : &claim->slices[claimant]);
	}
}

static void lay(struct claim *claim)
{
	int *next = claim->left; /* has served */
	int at = 0;

	for (int p = 0; p < claim->units.pool_count; p++)
		next[p] = 0;
	for (int i = 0; i < claim->grant_count; i++)
		next[claim->grants[i].pool]++;
	for (int p = 0; p < claim->units.pool_count; p++) {
		const int count = next[p];

		next[p] = at;
		at += count;
	}
	for (int i = 0; i < claim->grant_count; i++)
		claim->sorted[next[claim->grants[i].pool]++] = i;
	for (int p = 0; p < claim->units.pool_count; p++) {
		const int first = p ? next[p - 1] : 0;

		lay_pool(claim, p, claim->sorted + first, next[p] - first);
	}
}

static bool make_room(struct claim *claim)
{
	const size_t claimants = (size_t)claim->count, pools = (size_t)claim->units.pool_count;
	/* A grant has at least one unit, or is the one of a claimant that shares a unit. */
	const size_t grants = (size_t)claim->units.count + claimants;
	int **const arrays[] = { &claim->quota, &claim->total,	&claim->got,  &claim->members, &claim->takers,
				 &claim->left,	&claim->sorted, &claim->size, &claim->start };
	const size_t sizes[] = { claimants, claimants, claimants, claimants, claimants,
				 pools,	    grants,    grants,	  grants };
	size_t at = 0;

	claim->numbers = calloc(5 * claimants + pools + 3 * grants, sizeof(*claim->numbers));
	claim->groups = calloc(claimants, sizeof(*claim->groups));
	claim->grants = calloc(grants, sizeof(*claim->grants));
	if (!claim->numbers || !claim->groups || !claim->grants)
		return false;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		*arrays[i] = claim->numbers + at;
		at += sizes[i];
	}
	return true;
}

static bool claim_units(struct claim *claim, const struct na_claimant *claimants)
{
	const bool room = make_room(claim) && find_groups(claim, claimants) && find_pairs(claim);

	if (room) {
		share_all(claim);
		lay(claim);
	}
	free(claim->numbers);
	free(claim->groups);
	free(claim->pairs);
	free(claim->grants);
	return room;
}

static bool make_claim(struct claim *claim, const struct na_set *step, const struct na_claimant *claimants)
{
	bool done = true;

	for (int i = 0; i < claim->count; i++)
		claim->live += claimants[i].node >= 0;
	if (!claim->live)
		return true;
	if (!na_units_init(&claim->units, claim->machine, step, claim->live))
		return false;
	if (claim->units.count > 0)
		done = claim_units(claim, claimants);
	na_units_free(&claim->units);
	return done;
}

bool na_claim(const struct na_machine *machine, const struct na_set *step,
	      const struct na_claimant *claimants, int count, struct na_set *slices)
{
	struct claim claim = { .machine = machine, .count = count, .slices = slices };

	for (int i = 0; i < count; i++)
		na_set_clear(&slices[i]);
	return make_claim(&claim, step, claimants);
}

bool na_claim_some(const struct na_machine *machine, const struct na_set *step,
		   const struct na_claimant *claimants, int count, const bool *wanted, struct na_set *slice)
{
	struct claim claim = { .machine = machine, .count = count, .slices = slice, .wanted = wanted };

	na_set_clear(slice);
	return make_claim(&claim, step, claimants);
}
