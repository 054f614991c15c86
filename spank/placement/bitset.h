/* Sets of CPU or node numbers, of a fixed and bounded size; and the kernel's list format. */
#ifndef NUMA_ALIGN_BITSET_H
#define NUMA_ALIGN_BITSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest NR_CPUS that Linux can be built with (x86, MAXSMP); nodes are fewer. */
#define NA_SET_BITS 8192
#define NA_SET_WORDS (NA_SET_BITS / 64)

struct na_set {
	uint64_t word[NA_SET_WORDS];
};

static inline void na_set_add(struct na_set *set, int bit)
{
	if (bit >= 0 && bit < NA_SET_BITS)
		set->word[bit / 64] |= UINT64_C(1) << (bit % 64);
}

static inline void na_set_remove(struct na_set *set, int bit)
{
	if (bit >= 0 && bit < NA_SET_BITS)
		set->word[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

static inline bool na_set_has(const struct na_set *set, int bit)
{
	return bit >= 0 && bit < NA_SET_BITS && (set->word[bit / 64] >> (bit % 64)) & 1;
}

void na_set_clear(struct na_set *set);
void na_set_fill(struct na_set *set);
void na_set_or(struct na_set *into, const struct na_set *other);
void na_set_and(struct na_set *into, const struct na_set *other);
bool na_set_empty(const struct na_set *set);
bool na_set_equal(const struct na_set *a, const struct na_set *b);
bool na_set_subset(const struct na_set *small, const struct na_set *big);
bool na_set_meets(const struct na_set *a, const struct na_set *b);
int na_set_count(const struct na_set *set);
/* The lowest member that is at least `from`, or -1. */
int na_set_next(const struct na_set *set, int from);

/*
 * The kernel's list format, "0-3,8" (cpuset(7), "Formats"). An empty text or "-" is the empty
 * set. Returns false if the text is not a list or names a number past NA_SET_BITS.
 */
bool na_set_parse(struct na_set *set, const char *text);

/*
 * Writes the list format, "" for the empty set. If `size` is too small, returns false and writes the
 * entries that fit.
 */
bool na_set_format(const struct na_set *set, char *text, size_t size);

#endif
