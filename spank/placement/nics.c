#include "nics.h"

#include <limits.h>
#include <stdlib.h>

const char *na_fabric_name(enum na_fabric fabric)
{
	static const char *const names[NA_FABRICS] = {
		[NA_INFINIBAND] = "infiniband", [NA_ROCE] = "roce", [NA_IWARP] = "iwarp", [NA_EFA] = "efa",
		[NA_SLINGSHOT] = "slingshot",
	};

	return (unsigned)fabric < NA_FABRICS ? names[fabric] : "";
}

const char *na_path_name(enum na_path path)
{
	static const char *const names[NA_PATHS] = { "PIX", "PXB", "PHB", "NODE", "SYS" };

	return (unsigned)path < NA_PATHS ? names[path] : "";
}

static bool has(na_nics set, int nic)
{
	return set >> nic & 1;
}

na_nics na_nics_of_one_fabric(const struct na_machine *machine, na_nics usable)
{
	/* Ethernet last: beside a compute fabric it usually leads to the storage and outside. */
	static const enum na_fabric order[NA_FABRICS] = { NA_INFINIBAND, NA_SLINGSHOT, NA_EFA, NA_ROCE,
							  NA_IWARP };

	for (int i = 0; i < NA_FABRICS; i++) {
		na_nics found = 0;

		for (int nic = 0; nic < machine->nic_count; nic++)
			if (has(usable, nic) && machine->nics[nic].fabric == order[i])
				found |= NA_NIC(nic);
		if (found)
			return found;
	}
	return 0;
}

static int nic_rank(const struct na_machine *machine, int gpu, int nic)
{
	const int home = machine->gpus[gpu].node, path = machine->gpus[gpu].path[nic];
	const bool far = path == NA_PATH_SYS && home >= 0;

	return path * NA_RANKS + (far ? na_rank(machine, home, machine->nics[nic].node) : 0);
}

na_nics na_nearest_nics(const struct na_machine *machine, int gpu, na_nics usable)
{
	na_nics found = 0;
	int nearest = INT_MAX;

	for (int nic = 0; nic < machine->nic_count; nic++) {
		const int rank = has(usable, nic) ? nic_rank(machine, gpu, nic) : INT_MAX;

		if (rank == INT_MAX || rank > nearest)
			continue;
		found = (rank < nearest ? 0 : found) | NA_NIC(nic);
		nearest = rank;
	}
	return found;
}

/* Users of the same cards form a kind: first it is decided how many of each kind have which card. */
struct kind {
	na_nics near;
	int users, weight;
	int at[NA_MAX_NICS]; /* how many of its users have the card */
	int slots; /* the sum of at[] */
};

struct deal {
	struct kind *kinds;
	int count;
	int load[NA_MAX_NICS]; /* users of each card */
};

/* NULL if there are more kinds than GPUs. */
static struct kind *kind_of(struct deal *deal, na_nics near)
{
	int k = 0;

	while (k < deal->count && deal->kinds[k].near != near)
		k++;
	if (k == NA_MAX_GPUS)
		return NULL;
	if (k == deal->count)
		deal->kinds[deal->count++].near = near;
	return &deal->kinds[k];
}

static void give(struct deal *deal, struct kind *kind, int nic, int count)
{
	kind->at[nic] += count;
	kind->slots += count;
	deal->load[nic] += count;
}

/* The chains by which users could give up a card for another, beginning with the card of a new user. */
struct ways {
	int order[NA_MAX_NICS], count; /* cards in the order in which they were reached */
	int from[NA_MAX_NICS]; /* the card that would be given up for this one, -1: none */
	struct kind *who[NA_MAX_NICS]; /* the kind of user that would do so */
	na_nics reached;
};

static void reach(struct ways *ways, na_nics cards, int from, struct kind *who)
{
	for (int nic = 0; nic < NA_MAX_NICS; nic++) {
		if (!has(cards & ~ways->reached, nic))
			continue;
		ways->reached |= NA_NIC(nic);
		ways->order[ways->count++] = nic;
		ways->from[nic] = from;
		ways->who[nic] = who;
	}
}

/* Of the cards that were reached, the first with the fewest users. */
static int least_loaded(const struct deal *deal, const struct ways *ways)
{
	int best = ways->order[0];

	for (int i = 1; i < ways->count; i++)
		if (deal->load[ways->order[i]] < deal->load[best])
			best = ways->order[i];
	return best;
}

/*
 * Gives one more user a card: the one with the fewest users that can be reached when others change theirs. If
 * this is done for each in turn, no card has more users than necessary (an optimal semi-matching).
 */
static void seat(struct deal *deal, struct kind *kind)
{
	struct ways ways = { 0 };
	int nic;

	reach(&ways, kind->near, -1, kind);
	/* The first idle card ends the search; most users have one among their own. */
	for (int i = 0; i < ways.count && deal->load[least_loaded(deal, &ways)] > 0; i++)
		for (int k = 0; k < deal->count; k++)
			if (deal->kinds[k].at[ways.order[i]] > 0)
				reach(&ways, deal->kinds[k].near, ways.order[i], &deal->kinds[k]);
	for (nic = least_loaded(deal, &ways); nic >= 0; nic = ways.from[nic]) {
		give(deal, ways.who[nic], nic, 1);
		if (ways.from[nic] >= 0)
			give(deal, ways.who[nic], ways.from[nic], -1);
	}
}

/* Gives an unused card to the kind that has least for its weight. */
static void give_spare(struct deal *deal, int nic)
{
	struct kind *poorest = NULL;

	for (int k = 0; k < deal->count; k++) {
		struct kind *kind = &deal->kinds[k];

		if (has(kind->near, nic) &&
		    (!poorest || (long)kind->slots * poorest->weight < (long)poorest->slots * kind->weight))
			poorest = kind;
	}
	if (poorest)
		give(deal, poorest, nic, 1);
}

/* The users of one kind, and how many cards each gets. */
static void count_cards(const struct kind *kind, const struct na_nic_user *users, const int *members,
			int *cards)
{
	for (int i = 0; i < kind->users; i++)
		cards[i] = 1;
	for (int spare = kind->slots - kind->users; spare > 0; spare--) {
		int poorest = 0;

		for (int i = 1; i < kind->users; i++)
			if ((long)cards[i] * users[members[poorest]].weight <
			    (long)cards[poorest] * users[members[i]].weight)
				poorest = i;
		cards[poorest]++;
	}
}

/* Hands the cards of a kind to its users, in the order of both. */
static void hand_out(const struct kind *kind, const struct na_nic_user *users, int count, int *members,
		     int *cards, na_nics *dealt)
{
	int nic = -1, left = 0;

	for (int i = 0, m = 0; i < count; i++)
		if (users[i].near == kind->near)
			members[m++] = i;
	count_cards(kind, users, members, cards);
	for (int m = 0; m < kind->users; m++) {
		for (int c = 0; c < cards[m]; c++) {
			while (left == 0)
				left = kind->at[++nic];
			dealt[users[members[m]].owner] |= NA_NIC(nic);
			left--;
		}
	}
}

static bool seat_all(struct deal *deal, const struct na_nic_user *users, int count)
{
	for (int i = 0; i < count; i++) {
		struct kind *kind = users[i].near ? kind_of(deal, users[i].near) : NULL;

		if (!users[i].near)
			continue;
		if (!kind)
			return false;
		kind->users++;
		kind->weight += users[i].weight;
		seat(deal, kind);
	}
	return true;
}

bool na_deal_nics(const struct na_nic_user *users, int count, int owners, na_nics *dealt)
{
	const size_t room = (size_t)(count > 0 ? count : 1);
	struct deal deal = { .kinds = calloc(NA_MAX_GPUS, sizeof(*deal.kinds)) };
	int *members = calloc(room, sizeof(*members)), *cards = calloc(room, sizeof(*cards));
	const bool done = deal.kinds && members && cards && seat_all(&deal, users, count);

	for (int i = 0; i < owners; i++)
		dealt[i] = 0;
	for (int nic = 0; done && nic < NA_MAX_NICS; nic++)
		if (deal.load[nic] == 0)
			give_spare(&deal, nic);
	for (int k = 0; done && k < deal.count; k++)
		hand_out(&deal.kinds[k], users, count, members, cards, dealt);
	free(deal.kinds);
	free(members);
	free(cards);
	return done;
}
