/*
 * Network cards: which are nearest to a GPU, and which of them each task uses.
 *
 * Pure. docs/nics.md has the rules in words; tests/unit/test_nics.py checks this file against them.
 */
#ifndef NUMA_ALIGN_NICS_H
#define NUMA_ALIGN_NICS_H

#include "machine.h"

/*
 * The cards of `usable` that belong to one fabric, the best of those present: two tasks with cards of
 * different fabrics cannot reach each other, however near each card is.
 */
na_nics na_nics_of_one_fabric(const struct na_machine *machine, na_nics usable);

/*
 * Those of `usable` that are nearest to a GPU (a position in gpus[]): by the class of the path or, if that
 * leads to another node, by the distance between the nodes.
 */
na_nics na_nearest_nics(const struct na_machine *machine, int gpu, na_nics usable);

/* Some GPUs of one user that have the same nearest cards. */
struct na_nic_user {
	int owner; /* the user's number: 0 to owners - 1 */
	int weight; /* how many GPUs, at least 1 */
	na_nics near;
};

/*
 * Deals the cards out: dealt[i] are those of owner i.
 *
 * Each user has one of its nearest cards, and no other. No card has two users if one of these, directly
 * or when others change their cards, could have a card that is idle or that has fewer. Cards that are then
 * left go to users that are near to them, by weight. Users of the same cards get neighbouring ones, in
 * the order of users. There are at most NA_MAX_GPUS different sets of nearest cards. Returns
 * false only if there are more, or no memory.
 */
bool na_deal_nics(const struct na_nic_user *users, int count, int owners, na_nics *dealt);

/* The table's words for a fabric and for a class of path, "" for any other number; Python has the same. */
const char *na_fabric_name(enum na_fabric fabric);
const char *na_path_name(enum na_path path);

#endif
