#include "seats.h"

static int with_threads(int threads, struct na_seating seating)
{
	return seating.rounds * threads + (threads < seating.threads ? threads : seating.threads);
}

static int all_seats(const struct na_units *units, struct na_seating seating)
{
	int seats = 0;

	for (int i = 0; i < units->count; i++)
		seats += with_threads(na_units_threads(units, i), seating);
	return seats;
}

struct na_seating na_seating_of(const struct na_units *units, int owners)
{
	struct na_seating seating = { .rounds = 1 };

	seating.rounds = owners / all_seats(units, seating);
	while (seating.threads < NA_MAX_SMT) {
		struct na_seating next = seating;

		next.threads++;
		if (all_seats(units, next) > owners)
			return seating;
		seating = next;
	}
	return seating;
}

int na_seats_of_pool(const struct na_units *units, int pool, struct na_seating seating, bool next)
{
	int seats = 0;

	if (next)
		seating.threads++;
	for (int i = 0; i < units->pools[pool].count; i++)
		seats += with_threads(na_units_threads(units, units->pools[pool].first + i), seating);
	return seats;
}

/* Seat number `seat` of `seats` at a core: an equal part of its threads, or a shared thread. */
static void take_threads(const struct na_units *units, int unit, int seat, int seats, struct na_set *cpus)
{
	const int threads = na_units_threads(units, unit);
	const int from = seat * threads / seats;
	const int to = (seat + 1) * threads / seats;

	na_units_take_threads(units, unit, from, to > from ? to : from + 1, cpus);
}

void na_seats_take(const struct na_units *units, int pool, struct na_seating seating, int seat, int count,
		   struct na_set *cpus)
{
	const int first = units->pools[pool].first;
	/* Owners beyond the seating get the next thread of the first cores that have one. */
	int more = count - na_seats_of_pool(units, pool, seating, false);

	for (int i = first; i < first + units->pools[pool].count; i++) {
		const int threads = na_units_threads(units, i);
		int seats = with_threads(threads, seating);

		if (more > 0 && threads > seating.threads) {
			seats++;
			more--;
		}
		if (seat < seats) {
			take_threads(units, i, seat, seats, cpus);
			return;
		}
		seat -= seats;
	}
}
