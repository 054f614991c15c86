#include "claim.h"

#include <stdlib.h>

#include "share.h"

/* A claim: cores are first shared out, then laid out. */
struct claim {
	const struct na_machine *machine;
	const struct na_request *request;
	struct na_units units; /* whole cores */
	struct na_shares shares;
	int *numbers; /* room for the arrays below */
	int *next; /* per pool: where its grants are in sorted[] */
	int *sorted, *size, *start; /* per grant */
	/* Where the result goes: into one set per owner, or those of `wanted` into one set. */
	struct na_set *slices;
	const bool *wanted;
	struct na_set *idle;
};

/* The set that an owner's units go to, NULL if they are not asked for. */
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
		claim->size[i] = claim->shares.grants[grants[i]].units;
	if (!claim->shares.crowded)
		na_units_lay(&claim->units, first, claim->size, count, claim->start);
	for (int i = 0; i < count; i++) {
		const int owner = claim->shares.grants[grants[i]].owner;

		if (!claim->idle && !slice_of(claim, owner))
			continue;
		na_set_clear(&cpus);
		if (claim->shares.crowded)
			na_seats_take(&claim->units, pool, claim->shares.seating, i, count, &cpus);
		else
			na_units_take(&claim->units, claim->start[i], claim->size[i], &cpus);
		hand_over(claim, owner, &cpus);
	}
}

static void lay_pools(struct claim *claim)
{
	int *next = claim->next;
	int at = 0;

	for (int i = 0; i < claim->shares.count; i++)
		next[claim->shares.grants[i].pool]++;
	for (int p = 0; p < claim->units.pool_count; p++) {
		const int count = next[p];

		next[p] = at;
		at += count;
	}
	for (int i = 0; i < claim->shares.count; i++)
		claim->sorted[next[claim->shares.grants[i].pool]++] = i;
	for (int p = 0; p < claim->units.pool_count; p++) {
		const int first = p ? next[p - 1] : 0;

		lay_pool(claim, p, claim->sorted + first, next[p] - first);
	}
}

static bool lay(struct claim *claim)
{
	const size_t pools = (size_t)claim->units.pool_count, grants = (size_t)claim->shares.count;

	claim->numbers = calloc(pools + 3 * grants, sizeof(*claim->numbers));
	if (!claim->numbers)
		return false;
	claim->next = claim->numbers;
	claim->sorted = claim->next + pools;
	claim->size = claim->sorted + grants;
	claim->start = claim->size + grants;
	lay_pools(claim);
	free(claim->numbers);
	return true;
}

static bool make_claim(struct claim *claim)
{
	bool done = true, known = false;

	for (int i = 0; i < claim->request->count; i++)
		known |= claim->request->claimants[i].node >= 0;
	if (!known)
		return true;
	if (!na_units_init(&claim->units, claim->machine, claim->request->cpus, 1))
		return false;
	if (claim->units.count > 0) {
		done = na_share(claim->machine, claim->request, &claim->units, &claim->shares) && lay(claim);
		free(claim->shares.grants);
	}
	na_units_free(&claim->units);
	return done;
}

bool na_claim(const struct na_machine *machine, const struct na_request *request, struct na_set *slices)
{
	struct claim claim = { .machine = machine, .request = request, .slices = slices };

	for (int i = 0; i < request->owners; i++)
		na_set_clear(&slices[i]);
	return make_claim(&claim);
}

bool na_claim_some(const struct na_machine *machine, const struct na_request *request, const bool *wanted,
		   struct na_set *slice, struct na_set *idle)
{
	struct claim claim = {
		.machine = machine, .request = request, .slices = slice, .wanted = wanted, .idle = idle
	};

	na_set_clear(slice);
	if (idle)
		*idle = *request->cpus;
	return make_claim(&claim);
}
