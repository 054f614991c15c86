#include "share.h"

#include <limits.h>
#include <stdlib.h>

#include "quotas.h"

/* Claimants at home on one node. */
struct group {
	int node; /* position in nodes[] */
	int first, size; /* members[first .. first + size - 1] */
};

/* A pool (the step's cores of one NUMA node) as seen from a group. */
struct pair {
	int rank; /* na_rank() */
	int pool, group;
	bool shared; /* already shared out */
};

/*
 * Sharing out. The nearest pairs come first: once without cores of other places and, if that leaves an
 * owner without any, once more with a bound for each owner (find_quotas). With any bounds, giving to the
 * nearest pairs first ensures that no owner has a remote unit while a nearer one is unused or belongs to
 * an owner that is farther from it.
 */
struct sharing {
	const struct na_machine *machine;
	const struct na_request *request;
	const struct na_claimant *claimants;
	const struct na_units *units; /* whole cores */
	int live; /* owners with a known node: owners[0 .. live - 1] */
	bool crowded; /* fewer cores than live owners: seats are shared out */
	struct na_seating seating;
	struct group *groups;
	struct pair *pairs; /* by rank, then pool, then group */
	struct na_grant *grants;
	int group_count, pair_count, grant_count;
	int *numbers; /* room for the arrays below */
	int *owners;
	int *quota, *total, *weight; /* per owner: units that it may have, has; of all its claimants */
	int *got; /* per claimant: units that it has of the present pools */
	int *members, *takers; /* claimants group after group, each in its order; scratch */
	int *left; /* per pool: unused units */
	int *seats; /* per pool: how many in all, if crowded */
	int *tied; /* pools that are shared as one: scratch */
};

static int smaller(int a, int b)
{
	return a < b ? a : b;
}

static bool find_groups(struct sharing *sharing)
{
	int *next = calloc((size_t)sharing->machine->node_count, sizeof(*next));
	int at = 0;

	if (!next)
		return false;
	for (int i = 0; i < sharing->request->count; i++)
		if (sharing->claimants[i].node >= 0)
			next[sharing->claimants[i].node]++;
	for (int n = 0; n < sharing->machine->node_count; n++) {
		const int size = next[n];

		next[n] = at;
		if (size)
			sharing->groups[sharing->group_count++] = (struct group){ n, at, size };
		at += size;
	}
	for (int i = 0; i < sharing->request->count; i++)
		if (sharing->claimants[i].node >= 0)
			sharing->members[next[sharing->claimants[i].node]++] = i;
	free(next);
	return true;
}

/* Who claims at all, and with which weight; in the order of their nodes, not of the claimants. */
static void find_owners(struct sharing *sharing)
{
	const struct group *last = sharing->groups + sharing->group_count - 1;

	for (int i = 0; i < last->first + last->size; i++) {
		const struct na_claimant *claimant = &sharing->claimants[sharing->members[i]];

		if (!sharing->weight[claimant->owner])
			sharing->owners[sharing->live++] = claimant->owner;
		sharing->weight[claimant->owner] += claimant->weight;
	}
}

/* All pairs of a pool and a group, sorted by counting, which keeps the order of equals. */
static bool find_pairs(struct sharing *sharing)
{
	const int pools = sharing->units->pool_count, count = pools * sharing->group_count;
	struct pair *found = calloc((size_t)count, sizeof(*found));
	int next[NA_RANKS + 1] = { 0 };

	sharing->pairs = calloc((size_t)count, sizeof(*sharing->pairs));
	if (!found || !sharing->pairs) {
		free(found);
		return false;
	}
	for (int p = 0; p < pools; p++)
		for (int g = 0; g < sharing->group_count; g++) {
			const int rank = na_rank(sharing->machine, sharing->groups[g].node,
						 sharing->units->pools[p].node);

			found[sharing->pair_count++] = (struct pair){ rank, p, g, false };
			next[rank + 1]++;
		}
	for (int r = 0; r < NA_RANKS; r++)
		next[r + 1] += next[r];
	for (int i = 0; i < count; i++)
		sharing->pairs[next[found[i].rank]++] = found[i];
	free(found);
	return true;
}

/* How many more units a claimant's owner may have. */
static int room_of(const struct sharing *sharing, int claimant)
{
	const int owner = sharing->claimants[claimant].owner;

	return sharing->quota[owner] - sharing->total[owner];
}

/* Removes claimants that have their quota from a list, and keeps its order. */
static int drop_full(const struct sharing *sharing, int *list, int count)
{
	int kept = 0;

	for (int i = 0; i < count; i++)
		if (room_of(sharing, list[i]) > 0)
			list[kept++] = list[i];
	return kept;
}

static void give(struct sharing *sharing, int claimant, int units)
{
	sharing->got[claimant] += units;
	sharing->total[sharing->claimants[claimant].owner] += units;
}

/* Whether the first of two owners has less for its weight. */
static bool has_less(const struct sharing *sharing, int a, int b)
{
	return (long)sharing->total[a] * sharing->weight[b] < (long)sharing->total[b] * sharing->weight[a];
}

/*
 * Gives one unit each to those with the least for their weight, the first among equals first; there are
 * more takers than units. So similar owners never differ by more than one unit over all their pools.
 */
static int give_left_overs(struct sharing *sharing, int units, int *takers, int count)
{
	while (units > 0 && (count = drop_full(sharing, takers, count)) > 0) {
		int least = sharing->claimants[takers[0]].owner, kept = 0;
		int total;

		for (int i = 1; i < count; i++)
			if (has_less(sharing, sharing->claimants[takers[i]].owner, least))
				least = sharing->claimants[takers[i]].owner;
		total = sharing->total[least];
		for (int i = 0; i < count; i++) {
			const int owner = sharing->claimants[takers[i]].owner;

			/* Those that had as much for their weight as `least` before this round. */
			if (units == 0 || (long)sharing->total[owner] * sharing->weight[least] !=
						  (long)total * sharing->weight[owner]) {
				takers[kept++] = takers[i];
				continue;
			}
			give(sharing, takers[i], 1);
			units--;
		}
		count = kept;
	}
	return units;
}

/* Shares units among claimants by their weights within their quotas and returns how many are left. */
static int share_evenly(struct sharing *sharing, int units, int *takers, int count)
{
	int given = 1;

	while (units > 0 && given > 0 && (count = drop_full(sharing, takers, count)) > 0) {
		const int supply = units;
		long all = 0;

		given = 0;
		for (int i = 0; i < count; i++)
			all += sharing->claimants[takers[i]].weight;
		for (int i = 0; i < count; i++) {
			const long due = (long)supply * sharing->claimants[takers[i]].weight / all;
			const int mine = smaller((int)due, room_of(sharing, takers[i]));

			give(sharing, takers[i], mine);
			given += mine;
		}
		units -= given;
	}
	return give_left_overs(sharing, units, takers, count);
}

/* The pairs of one pool and one rank begin at `from`; returns where they end. */
static int end_of_pool(const struct sharing *sharing, int from)
{
	const struct pair *pairs = sharing->pairs;
	int to = from + 1;

	while (to < sharing->pair_count && pairs[to].rank == pairs[from].rank &&
	       pairs[to].pool == pairs[from].pool)
		to++;
	return to;
}

/* Whether two pools are equally near to the same groups. */
static bool same_groups(const struct sharing *sharing, int a, int b)
{
	const int count = end_of_pool(sharing, a) - a;

	if (end_of_pool(sharing, b) - b != count)
		return false;
	for (int i = 0; i < count; i++)
		if (sharing->pairs[a + i].group != sharing->pairs[b + i].group)
			return false;
	return true;
}

/* Records what a claimant got, beginning with the first of these pools that has units left. */
static void grant(struct sharing *sharing, int claimant, const int *pools, int count)
{
	int units = sharing->got[claimant];

	sharing->got[claimant] = 0;
	for (int i = 0; i < count && units > 0; i++) {
		const int mine = smaller(units, sharing->left[pools[i]]);

		if (mine <= 0)
			continue;
		sharing->grants[sharing->grant_count++] =
			(struct na_grant){ pools[i], sharing->claimants[claimant].owner, mine };
		sharing->left[pools[i]] -= mine;
		units -= mine;
	}
}

/*
 * Shares the pools that are as near to the same groups as the one at pairs[from], as if they were one pool:
 * each claimant then has whole nodes if the numbers allow, rather than a part of every node.
 */
static void share_tied_pools(struct sharing *sharing, int from)
{
	struct pair *pairs = sharing->pairs;
	int *pools = sharing->tied;
	int count = 0, takers = 0, units = 0;

	for (int at = from; at < sharing->pair_count && pairs[at].rank == pairs[from].rank;
	     at = end_of_pool(sharing, at)) {
		if (pairs[at].shared || !same_groups(sharing, from, at))
			continue;
		pairs[at].shared = true;
		units += sharing->left[pairs[at].pool];
		if (sharing->left[pairs[at].pool] > 0)
			pools[count++] = pairs[at].pool;
	}
	if (!units)
		return;
	for (int i = from; i < end_of_pool(sharing, from); i++) {
		const struct group *group = &sharing->groups[pairs[i].group];

		for (int m = 0; m < group->size; m++)
			sharing->takers[takers++] = sharing->members[group->first + m];
	}
	share_evenly(sharing, units, sharing->takers, takers);
	for (int i = from; i < end_of_pool(sharing, from); i++) {
		const struct group *group = &sharing->groups[pairs[i].group];

		for (int m = 0; m < group->size; m++)
			grant(sharing, sharing->members[group->first + m], pools, count);
	}
}

/* Shares what is left of all pools, for pairs that are nearer than `limit`. */
static void share_pools(struct sharing *sharing, int limit)
{
	struct pair *pairs = sharing->pairs;

	for (int i = 0; i < sharing->pair_count; i++)
		pairs[i].shared = false;
	for (int from = 0; from < sharing->pair_count && pairs[from].rank < limit;
	     from = end_of_pool(sharing, from))
		if (!pairs[from].shared)
			share_tied_pools(sharing, from);
}

/* Undoes the sharing; each pool then has `units` again, NULL: all its cores. */
static void start_again(struct sharing *sharing, const int *units)
{
	sharing->grant_count = 0;
	for (int i = 0; i < sharing->live; i++)
		sharing->total[sharing->owners[i]] = 0;
	for (int p = 0; p < sharing->units->pool_count; p++)
		sharing->left[p] = units ? units[p] : sharing->units->pools[p].count;
}

static void set_quotas(struct sharing *sharing, int quota)
{
	for (int i = 0; i < sharing->live; i++)
		sharing->quota[sharing->owners[i]] = quota;
}

/*
 * How many units each owner may have, after share_pools() has left some owners empty although there are
 * enough units. An owner without a pool of its own place is due an even share, one whose pools
 * were too small one unit. If the unused units are enough for them, they share those and
 * the others keep all they have; otherwise the richest give some up.
 */
static void find_quotas(struct sharing *sharing)
{
	int needy = 0, unused = 0;

	for (int p = 0; p < sharing->units->pool_count; p++)
		unused += sharing->left[p];
	for (int i = 0; i < sharing->live; i++) {
		const int owner = sharing->owners[i];

		sharing->quota[owner] = sharing->total[owner] ? sharing->total[owner] : 1;
		if (!sharing->total[owner])
			sharing->takers[needy++] = owner;
	}
	for (int g = 0; g < sharing->group_count; g++) {
		const int *members = sharing->members + sharing->groups[g].first;
		bool stray = true;

		for (int m = 0; m < sharing->groups[g].size; m++)
			stray &= sharing->total[sharing->claimants[members[m]].owner] == 0;
		for (int m = 0; stray && m < sharing->groups[g].size; m++)
			sharing->quota[sharing->claimants[members[m]].owner] = INT_MAX;
	}
	if (unused >= needy)
		na_lower_quotas(sharing->quota, sharing->takers, needy, unused);
	else
		na_lower_quotas(sharing->quota, sharing->owners, sharing->live, sharing->units->count);
}

static bool somebody_is_empty(const struct sharing *sharing)
{
	for (int i = 0; i < sharing->live; i++)
		if (!sharing->total[sharing->owners[i]])
			return true;
	return false;
}

/* Near cores first, then the nearest unused ones, up to each owner's limit. */
static void fill(struct sharing *sharing)
{
	for (int i = 0; i < sharing->live; i++) {
		const int owner = sharing->owners[i], most = sharing->request->fill[owner];

		sharing->quota[owner] = most > sharing->total[owner] ? most : sharing->total[owner];
	}
	share_pools(sharing, NA_RANKS);
}

static void share_cores(struct sharing *sharing)
{
	set_quotas(sharing, INT_MAX);
	start_again(sharing, NULL);
	share_pools(sharing, NA_RANK_OTHER_PLACE);
	if (somebody_is_empty(sharing)) {
		find_quotas(sharing);
		start_again(sharing, NULL);
		share_pools(sharing, NA_RANKS);
	}
	if (sharing->request->fill)
		fill(sharing);
}

/*
 * More owners than cores. First every core gets as many owners as each core must have at least; this shows
 * which pools have the others, and with these numbers all are seated again, nearest first.
 */
static void share_seats(struct sharing *sharing)
{
	sharing->seating = na_seating_of(sharing->units, sharing->live);
	set_quotas(sharing, 1);
	for (int p = 0; p < sharing->units->pool_count; p++)
		sharing->seats[p] = na_seats_of_pool(sharing->units, p, sharing->seating, false);
	start_again(sharing, sharing->seats);
	share_pools(sharing, NA_RANKS);
	for (int p = 0; p < sharing->units->pool_count; p++)
		sharing->left[p] =
			na_seats_of_pool(sharing->units, p, sharing->seating, true) - sharing->seats[p];
	share_pools(sharing, NA_RANKS);
	for (int p = 0; p < sharing->units->pool_count; p++)
		sharing->seats[p] = 0;
	for (int i = 0; i < sharing->grant_count; i++)
		sharing->seats[sharing->grants[i].pool] += sharing->grants[i].units;
	start_again(sharing, sharing->seats);
	share_pools(sharing, NA_RANKS);
}

static bool make_room(struct sharing *sharing)
{
	const size_t owners = (size_t)sharing->request->owners, claimants = (size_t)sharing->request->count;
	const size_t pools = (size_t)sharing->units->pool_count;
	int **const arrays[] = { &sharing->owners, &sharing->quota,   &sharing->total,	&sharing->weight,
				 &sharing->got,	   &sharing->members, &sharing->takers, &sharing->left,
				 &sharing->seats,  &sharing->tied };
	const size_t sizes[] = { owners, owners, owners, owners, claimants, claimants, claimants + owners,
				 pools,	 pools,	 pools };
	/* A grant has at least one unit, or is an owner's seat. */
	const size_t grants = (size_t)sharing->units->count + owners + pools;
	size_t at = 0, all = 0;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		all += sizes[i];
	sharing->numbers = calloc(all, sizeof(*sharing->numbers));
	sharing->groups = calloc(claimants, sizeof(*sharing->groups));
	sharing->grants = calloc(grants, sizeof(*sharing->grants));
	if (!sharing->numbers || !sharing->groups || !sharing->grants)
		return false;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		*arrays[i] = sharing->numbers + at;
		at += sizes[i];
	}
	return true;
}

bool na_share(const struct na_machine *machine, const struct na_request *request,
	      const struct na_units *units, struct na_shares *shares)
{
	struct sharing sharing = {
		.machine = machine, .request = request, .claimants = request->claimants, .units = units
	};
	const bool room = make_room(&sharing) && find_groups(&sharing) && find_pairs(&sharing);

	if (room) {
		find_owners(&sharing);
		sharing.crowded = sharing.live > units->count;
		if (sharing.crowded)
			share_seats(&sharing);
		else
			share_cores(&sharing);
	} else {
		free(sharing.grants);
		sharing.grants = NULL;
	}
	free(sharing.numbers);
	free(sharing.groups);
	free(sharing.pairs);
	*shares = (struct na_shares){ sharing.grants, sharing.grant_count, sharing.crowded, sharing.seating };
	return room;
}
