#include "bitset.h"

#include <stdio.h>
#include <string.h>

void na_set_clear(struct na_set *set)
{
	memset(set, 0, sizeof(*set));
}

void na_set_fill(struct na_set *set)
{
	memset(set, 0xff, sizeof(*set));
}

void na_set_or(struct na_set *into, const struct na_set *other)
{
	for (int i = 0; i < NA_SET_WORDS; i++)
		into->word[i] |= other->word[i];
}

void na_set_and(struct na_set *into, const struct na_set *other)
{
	for (int i = 0; i < NA_SET_WORDS; i++)
		into->word[i] &= other->word[i];
}

bool na_set_empty(const struct na_set *set)
{
	for (int i = 0; i < NA_SET_WORDS; i++)
		if (set->word[i])
			return false;
	return true;
}

bool na_set_equal(const struct na_set *a, const struct na_set *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool na_set_subset(const struct na_set *small, const struct na_set *big)
{
	for (int i = 0; i < NA_SET_WORDS; i++)
		if (small->word[i] & ~big->word[i])
			return false;
	return true;
}

bool na_set_meets(const struct na_set *a, const struct na_set *b)
{
	for (int i = 0; i < NA_SET_WORDS; i++)
		if (a->word[i] & b->word[i])
			return true;
	return false;
}

int na_set_count(const struct na_set *set)
{
	int count = 0;

	for (int i = 0; i < NA_SET_WORDS; i++)
		count += __builtin_popcountll(set->word[i]);
	return count;
}

int na_set_next(const struct na_set *set, int from)
{
	if (from < 0)
		from = 0;
	for (int i = from / 64; i < NA_SET_WORDS; i++) {
		uint64_t word = set->word[i];

		if (i == from / 64)
			word &= ~UINT64_C(0) << (from % 64);
		if (word)
			return i * 64 + __builtin_ctzll(word);
	}
	return -1;
}

/* Reads a decimal number below NA_SET_BITS and moves *at past it; -1 if there is none. */
static int read_number(const char **at)
{
	const char *p = *at;
	int value = 0;

	if (*p < '0' || *p > '9')
		return -1;
	for (; *p >= '0' && *p <= '9'; p++) {
		value = value * 10 + (*p - '0');
		if (value >= NA_SET_BITS)
			return -1;
	}
	*at = p;
	return value;
}

bool na_set_parse(struct na_set *set, const char *text)
{
	na_set_clear(set);
	if (!text)
		return false;
	if (!*text || strcmp(text, "-") == 0)
		return true;
	for (;;) {
		int first = read_number(&text);
		int last = first;

		if (first < 0)
			return false;
		if (*text == '-') {
			text++;
			last = read_number(&text);
			if (last < first)
				return false;
		}
		for (int i = first; i <= last; i++)
			na_set_add(set, i);
		if (!*text)
			return true;
		if (*text++ != ',')
			return false;
	}
}

bool na_set_format(const struct na_set *set, char *text, size_t size)
{
	size_t used = 0;

	if (size)
		text[0] = '\0';
	for (int first = na_set_next(set, 0); first >= 0;) {
		char range[32];
		int last = first;
		int length;

		while (na_set_has(set, last + 1))
			last++;
		if (last > first)
			length = snprintf(range, sizeof(range), "%s%d-%d", used ? "," : "", first, last);
		else
			length = snprintf(range, sizeof(range), "%s%d", used ? "," : "", first);
		if (length < 0 || used + (size_t)length >= size)
			return false;
		memcpy(text + used, range, (size_t)length + 1);
		used += (size_t)length;
		first = na_set_next(set, last + 1);
	}
	return true;
}
