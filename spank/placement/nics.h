/*
 * Network cards: which are nearest to a GPU, and which of them each task uses.
 *
 * Pure. docs/nics.md tells the rules in words; tests/unit/test_nics.py holds this file to them.
 */
#ifndef NUMA_ALIGN_NICS_H
#define NUMA_ALIGN_NICS_H

#include "machine.h"

/*
 * The cards of `usable` that are of one fabric, the best that there is: two tasks with cards of different
 * fabrics do not reach each other, however near each card is.
 */
na_nics na_nics_of_one_fabric(const struct na_machine *machine, na_nics usable);

/*
 * Those of `usable` that are nearest to a GPU (a position in gpus[]): by the class of the path; where that
 * crosses from node to node, by how far the nodes are from each other.
 */
na_nics na_nearest_nics(const struct na_machine *machine, int gpu, na_nics usable);

/* Some GPUs of one user to which the same cards are nearest. */
struct na_nic_user {
	int owner; /* who it is: 0 to owners - 1 */
	int weight; /* how many GPUs, at least 1 */
	na_nics near;
};

/*
 * Deals the cards out: dealt[i] are those of owner i.
 *
 * Each user has one of its nearest cards, and no other. No card has two users while one of these, or
 * somebody in whose place it could step, could have a card that is idle or that has fewer. Cards that then
 * are left go to those that are near to them, by weight. Users of the same cards get neighbouring ones, in
 * the order of users. What is near to users are sets of cards, at most NA_MAX_GPUS different ones. Returns
 * false only if there are more, or no memory.
 */
bool na_deal_nics(const struct na_nic_user *users, int count, int owners, na_nics *dealt);

/* A card's fabric and the class of a path in the table, "" for what is none; Python has the same words. */
const char *na_fabric_name(enum na_fabric fabric);
const char *na_path_name(enum na_path path);

#endif
