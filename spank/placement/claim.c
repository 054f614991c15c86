#include "claim.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "quotas.h"
#include "seats.h"
#include "units.h"

/* Claimants at home on one node. */
struct group {
	int node; /* position in nodes[] */
	int first, size; /* members[first .. first + size - 1] */
};

/* A pool (the step's cores of one NUMA node) as seen from a group. */
struct pair {
	int rank; /* na_rank() */
	int pool, group;
	bool shared; /* done with */
};

/* Units of a pool that an owner gets. */
struct grant {
	int pool, owner, units;
};

/*
 * A claim being made. Pools are shared out nearest pairs first: once without looking at other
 * places, and if that leaves an owner empty once more with a bound for each (find_quotas). Last, the
 * units themselves are laid out. Whatever the bounds, giving the nearest pairs first makes sure that
 * nobody holds a far unit while a nearer one is unused or with somebody who is farther from it.
 */
struct claim {
	const struct na_machine *machine;
	const struct na_request *request;
	const struct na_claimant *claimants;
	int live; /* owners of whom a node is known: owners[0 .. live - 1] */
	bool crowded; /* fewer cores than those: what is shared out are seats */
	struct na_seating seating;
	struct na_units units; /* whole cores */
	struct group *groups;
	struct pair *pairs; /* by rank, then pool, then group */
	struct grant *grants;
	int group_count, pair_count, grant_count;
	int *numbers; /* room for the arrays below */
	int *owners;
	int *quota, *total, *weight; /* an owner: units that it may have, has; of all its claimants */
	int *got; /* a claimant: units that it has of the pools at hand */
	int *members, *takers; /* claimants group after group, each in its order; scratch */
	int *left; /* a pool: units that nobody has */
	int *seats; /* a pool: how many in all, if crowded */
	int *sorted, *size, *start; /* a grant: scratch */
	/* Where the result goes: to a set for each owner, or those `wanted` to one. */
	struct na_set *slices;
	const bool *wanted;
	struct na_set *idle;
};

static int smaller(int a, int b)
{
	return a < b ? a : b;
}

static bool find_groups(struct claim *claim)
{
	int *next = calloc((size_t)claim->machine->node_count, sizeof(*next));
	int at = 0;

	if (!next)
		return false;
	for (int i = 0; i < claim->request->count; i++)
		if (claim->claimants[i].node >= 0)
			next[claim->claimants[i].node]++;
	for (int n = 0; n < claim->machine->node_count; n++) {
		const int size = next[n];

		next[n] = at;
		if (size)
			claim->groups[claim->group_count++] = (struct group){ n, at, size };
		at += size;
	}
	for (int i = 0; i < claim->request->count; i++)
		if (claim->claimants[i].node >= 0)
			claim->members[next[claim->claimants[i].node]++] = i;
	free(next);
	return true;
}

/* Who claims at all, and with which weight; in the order of their nodes, whatever that of the claimants is. */
static void find_owners(struct claim *claim)
{
	const struct group *last = claim->groups + claim->group_count - 1;

	for (int i = 0; i < last->first + last->size; i++) {
		const struct na_claimant *claimant = &claim->claimants[claim->members[i]];

		if (!claim->weight[claimant->owner])
			claim->owners[claim->live++] = claimant->owner;
		claim->weight[claimant->owner] += claimant->weight;
	}
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

			found[claim->pair_count++] = (struct pair){ rank, p, g, false };
			next[rank + 1]++;
		}
	for (int r = 0; r < NA_RANKS; r++)
		next[r + 1] += next[r];
	for (int i = 0; i < count; i++)
		claim->pairs[next[found[i].rank]++] = found[i];
	free(found);
	return true;
}

/* What a claimant's owner may still have. */
static int room_of(const struct claim *claim, int claimant)
{
	const int owner = claim->claimants[claimant].owner;

	return claim->quota[owner] - claim->total[owner];
}

/* Takes those who have their quota out of a list of claimants, which keeps its order. */
static int drop_full(const struct claim *claim, int *list, int count)
{
	int kept = 0;

	for (int i = 0; i < count; i++)
		if (room_of(claim, list[i]) > 0)
			list[kept++] = list[i];
	return kept;
}

static void give(struct claim *claim, int claimant, int units)
{
	claim->got[claimant] += units;
	claim->total[claim->claimants[claimant].owner] += units;
}

/* Whether the first of two owners has less, by its weight. */
static bool has_less(const struct claim *claim, int a, int b)
{
	return (long)claim->total[a] * claim->weight[b] < (long)claim->total[b] * claim->weight[a];
}

/*
 * One unit each to those who have least by their weight, the first of equals first; there are more
 * takers than units. So owners alike never differ by more than one unit over all their pools.
 */
static int give_left_overs(struct claim *claim, int units, int *takers, int count)
{
	while (units > 0 && (count = drop_full(claim, takers, count)) > 0) {
		int least = claim->claimants[takers[0]].owner, kept = 0;
		int total;

		for (int i = 1; i < count; i++)
			if (has_less(claim, claim->claimants[takers[i]].owner, least))
				least = claim->claimants[takers[i]].owner;
		total = claim->total[least];
		for (int i = 0; i < count; i++) {
			const int owner = claim->claimants[takers[i]].owner;

			/* Those with as much for their weight as `least` had before this round. */
			if (units == 0 || (long)claim->total[owner] * claim->weight[least] !=
						  (long)total * claim->weight[owner]) {
				takers[kept++] = takers[i];
				continue;
			}
			give(claim, takers[i], 1);
			units--;
		}
		count = kept;
	}
	return units;
}

/* Shares units among claimants by their weights within their quotas and returns how many are left. */
static int share_evenly(struct claim *claim, int units, int *takers, int count)
{
	int given = 1;

	while (units > 0 && given > 0 && (count = drop_full(claim, takers, count)) > 0) {
		const int supply = units;
		long all = 0;

		given = 0;
		for (int i = 0; i < count; i++)
			all += claim->claimants[takers[i]].weight;
		for (int i = 0; i < count; i++) {
			const long due = (long)supply * claim->claimants[takers[i]].weight / all;
			const int mine = smaller((int)due, room_of(claim, takers[i]));

			give(claim, takers[i], mine);
			given += mine;
		}
		units -= given;
	}
	return give_left_overs(claim, units, takers, count);
}

/* The pairs of one pool and one rank start at `from`; gives where they end. */
static int end_of_pool(const struct claim *claim, int from)
{
	const struct pair *pairs = claim->pairs;
	int to = from + 1;

	while (to < claim->pair_count && pairs[to].rank == pairs[from].rank &&
	       pairs[to].pool == pairs[from].pool)
		to++;
	return to;
}

/* Whether two pools are equally near to the same groups. */
static bool same_groups(const struct claim *claim, int a, int b)
{
	const int count = end_of_pool(claim, a) - a;

	if (end_of_pool(claim, b) - b != count)
		return false;
	for (int i = 0; i < count; i++)
		if (claim->pairs[a + i].group != claim->pairs[b + i].group)
			return false;
	return true;
}

/* Writes down what a claimant got, from the first of these pools that has units left on. */
static void grant(struct claim *claim, int claimant, const int *pools, int count)
{
	int units = claim->got[claimant];

	claim->got[claimant] = 0;
	for (int i = 0; i < count && units > 0; i++) {
		const int mine = smaller(units, claim->left[pools[i]]);

		if (mine <= 0)
			continue;
		claim->grants[claim->grant_count++] =
			(struct grant){ pools[i], claim->claimants[claimant].owner, mine };
		claim->left[pools[i]] -= mine;
		units -= mine;
	}
}

/*
 * Shares the pools that are as near to the same groups as the one at pairs[from], as if they were one:
 * each claimant then has whole nodes where the numbers allow, and not a part of every node.
 */
static void share_tied_pools(struct claim *claim, int from)
{
	struct pair *pairs = claim->pairs;
	int *pools = claim->sorted; /* which lay() fills later */
	int count = 0, takers = 0, units = 0;

	for (int at = from; at < claim->pair_count && pairs[at].rank == pairs[from].rank;
	     at = end_of_pool(claim, at)) {
		if (pairs[at].shared || !same_groups(claim, from, at))
			continue;
		pairs[at].shared = true;
		units += claim->left[pairs[at].pool];
		if (claim->left[pairs[at].pool] > 0)
			pools[count++] = pairs[at].pool;
	}
	if (!units)
		return;
	for (int i = from; i < end_of_pool(claim, from); i++) {
		const struct group *group = &claim->groups[pairs[i].group];

		for (int m = 0; m < group->size; m++)
			claim->takers[takers++] = claim->members[group->first + m];
	}
	share_evenly(claim, units, claim->takers, takers);
	for (int i = from; i < end_of_pool(claim, from); i++) {
		const struct group *group = &claim->groups[pairs[i].group];

		for (int m = 0; m < group->size; m++)
			grant(claim, claim->members[group->first + m], pools, count);
	}
}

/* Shares what is left of all pools, as far as pairs are nearer than `limit`. */
static void share_pools(struct claim *claim, int limit)
{
	struct pair *pairs = claim->pairs;

	for (int i = 0; i < claim->pair_count; i++)
		pairs[i].shared = false;
	for (int from = 0; from < claim->pair_count && pairs[from].rank < limit;
	     from = end_of_pool(claim, from))
		if (!pairs[from].shared)
			share_tied_pools(claim, from);
}

/* Takes back what was shared; `units` of each pool are there again, NULL: all its cores. */
static void start_again(struct claim *claim, const int *units)
{
	claim->grant_count = 0;
	for (int i = 0; i < claim->live; i++)
		claim->total[claim->owners[i]] = 0;
	for (int p = 0; p < claim->units.pool_count; p++)
		claim->left[p] = units ? units[p] : claim->units.pools[p].count;
}

static void set_quotas(struct claim *claim, int quota)
{
	for (int i = 0; i < claim->live; i++)
		claim->quota[claim->owners[i]] = quota;
}

/*
 * How many units each owner may have, after share_pools() has left some empty though there are
 * units enough. An owner without a pool of its own place is due an even share, one whose pools
 * were too small one unit. If the units that nobody has are enough for them, they share those and
 * the others keep all they have; otherwise the richest give.
 */
static void find_quotas(struct claim *claim)
{
	int needy = 0, unused = 0;

	for (int p = 0; p < claim->units.pool_count; p++)
		unused += claim->left[p];
	for (int i = 0; i < claim->live; i++) {
		const int owner = claim->owners[i];

		claim->quota[owner] = claim->total[owner] ? claim->total[owner] : 1;
		if (!claim->total[owner])
			claim->takers[needy++] = owner;
	}
	for (int g = 0; g < claim->group_count; g++) {
		const int *members = claim->members + claim->groups[g].first;
		bool stray = true;

		for (int m = 0; m < claim->groups[g].size; m++)
			stray &= claim->total[claim->claimants[members[m]].owner] == 0;
		for (int m = 0; stray && m < claim->groups[g].size; m++)
			claim->quota[claim->claimants[members[m]].owner] = INT_MAX;
	}
	if (unused >= needy)
		na_level(claim->quota, claim->takers, needy, unused);
	else
		na_level(claim->quota, claim->owners, claim->live, claim->units.count);
}

static bool somebody_is_empty(const struct claim *claim)
{
	for (int i = 0; i < claim->live; i++)
		if (!claim->total[claim->owners[i]])
			return true;
	return false;
}

/* Near cores first, then the nearest that nobody has, up to what each is to be filled to. */
static void fill(struct claim *claim)
{
	for (int i = 0; i < claim->live; i++) {
		const int owner = claim->owners[i], most = claim->request->fill[owner];

		claim->quota[owner] = most > claim->total[owner] ? most : claim->total[owner];
	}
	share_pools(claim, NA_RANKS);
}

static void share_cores(struct claim *claim)
{
	set_quotas(claim, INT_MAX);
	start_again(claim, NULL);
	share_pools(claim, NA_RANK_OTHER_PLACE);
	if (somebody_is_empty(claim)) {
		find_quotas(claim);
		start_again(claim, NULL);
		share_pools(claim, NA_RANKS);
	}
	if (claim->request->fill)
		fill(claim);
}

/*
 * More owners than cores. First every core has as many as each core must have at least; then it is
 * known which pools have the others, and with these numbers all are seated anew, nearest first.
 */
static void share_seats(struct claim *claim)
{
	claim->seating = na_seating_of(&claim->units, claim->live);
	set_quotas(claim, 1);
	for (int p = 0; p < claim->units.pool_count; p++)
		claim->seats[p] = na_seats_of_pool(&claim->units, p, claim->seating, false);
	start_again(claim, claim->seats);
	share_pools(claim, NA_RANKS);
	for (int p = 0; p < claim->units.pool_count; p++)
		claim->left[p] = na_seats_of_pool(&claim->units, p, claim->seating, true) - claim->seats[p];
	share_pools(claim, NA_RANKS);
	for (int p = 0; p < claim->units.pool_count; p++)
		claim->seats[p] = 0;
	for (int i = 0; i < claim->grant_count; i++)
		claim->seats[claim->grants[i].pool] += claim->grants[i].units;
	start_again(claim, claim->seats);
	share_pools(claim, NA_RANKS);
}

/* The set that an owner's units go to, NULL if nobody asks for them. */
static struct na_set *slice_of(const struct claim *claim, int owner)
{
	if (claim->wanted)
		return claim->wanted[owner] ? claim->slices : NULL;
	return &claim->slices[owner];
}

static void hand_over(struct claim *claim, int owner, const struct na_set *cpus)
{
	struct na_set *slice = slice_of(claim, owner);

	if (slice)
		na_set_or(slice, cpus);
	if (claim->idle)
		for (int i = 0; i < NA_SET_WORDS; i++)
			claim->idle->word[i] &= ~cpus->word[i];
}

/* Lays out the units of a pool for some of its grants. */
static void lay_pool(struct claim *claim, int pool, const int *grants, int count)
{
	const int first = claim->units.pools[pool].first;
	struct na_set cpus;

	for (int i = 0; i < count; i++)
		claim->size[i] = claim->grants[grants[i]].units;
	if (!claim->crowded)
		na_units_lay(&claim->units, first, claim->size, count, claim->start);
	for (int i = 0; i < count; i++) {
		const int owner = claim->grants[grants[i]].owner;

		if (!claim->idle && !slice_of(claim, owner))
			continue;
		na_set_clear(&cpus);
		if (claim->crowded)
			na_seats_take(&claim->units, pool, claim->seating, i, count, &cpus);
		else
			na_units_take(&claim->units, claim->start[i], claim->size[i], &cpus);
		hand_over(claim, owner, &cpus);
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
	const size_t owners = (size_t)claim->request->owners, claimants = (size_t)claim->request->count;
	const size_t pools = (size_t)claim->units.pool_count;
	/* A grant has at least one unit, or is the seat of an owner. */
	const size_t grants = (size_t)claim->units.count + owners + pools;
	int **const arrays[] = { &claim->owners, &claim->quota,	  &claim->total,  &claim->weight,
				 &claim->got,	 &claim->members, &claim->takers, &claim->left,
				 &claim->seats,	 &claim->sorted,  &claim->size,	  &claim->start };
	const size_t sizes[] = { owners, owners, owners, owners, claimants, claimants, claimants + owners,
				 pools,	 pools,	 grants, grants, grants };
	size_t at = 0, all = 0;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		all += sizes[i];
	claim->numbers = calloc(all, sizeof(*claim->numbers));
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

static bool claim_units(struct claim *claim)
{
	const bool room = make_room(claim) && find_groups(claim) && find_pairs(claim);

	if (room) {
		find_owners(claim);
		claim->crowded = claim->live > claim->units.count;
		if (claim->crowded)
			share_seats(claim);
		else
			share_cores(claim);
		lay(claim);
	}
	free(claim->numbers);
	free(claim->groups);
	free(claim->pairs);
	free(claim->grants);
	return room;
}

static bool make_claim(struct claim *claim)
{
	bool done = true, known = false;

	for (int i = 0; i < claim->request->count; i++)
		known |= claim->claimants[i].node >= 0;
	if (!known)
		return true;
	if (!na_units_init(&claim->units, claim->machine, claim->request->cpus, 1))
		return false;
	if (claim->units.count > 0)
		done = claim_units(claim);
	na_units_free(&claim->units);
	return done;
}

bool na_claim(const struct na_machine *machine, const struct na_request *request, struct na_set *slices)
{
	struct claim claim = {
		.machine = machine, .request = request, .claimants = request->claimants, .slices = slices
	};

	for (int i = 0; i < request->owners; i++)
		na_set_clear(&slices[i]);
	return make_claim(&claim);
}

bool na_claim_some(const struct na_machine *machine, const struct na_request *request, const bool *wanted,
		   struct na_set *slice, struct na_set *idle)
{
	struct claim claim = { .machine = machine,
			       .request = request,
			       .claimants = request->claimants,
			       .slices = slice,
			       .wanted = wanted,
			       .idle = idle };

	na_set_clear(slice);
	if (idle)
		*idle = *request->cpus;
	return make_claim(&claim);
}
