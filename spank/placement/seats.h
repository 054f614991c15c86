/*
 * Seats: where each owner goes if there are more owners than cores. A core has a seat for each of its
 * hardware threads before any thread has two; no core has none while another has two owners.
 */
#ifndef NUMA_ALIGN_SEATS_H
#define NUMA_ALIGN_SEATS_H

#include "units.h"

/* How full cores are: `rounds` owners on every thread, then one on each of a core's first `threads`. */
struct na_seating {
	int rounds, threads;
};

/* The fullest seating with no more seats than owners; the remaining owners get the next threads. */
struct na_seating na_seating_of(const struct na_units *units, int owners);

/* The number of seats in a pool; with `next`, including the next thread of each core that has one. */
int na_seats_of_pool(const struct na_units *units, int pool, struct na_seating seating, bool next);

/* Adds the CPUs of seat number `seat` of `count` in a pool to a set. */
void na_seats_take(const struct na_units *units, int pool, struct na_seating seating, int seat, int count,
		   struct na_set *cpus);

#endif
