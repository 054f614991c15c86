/* Which known word was meant by a mistyped one. */
#ifndef NUMA_ALIGN_SUGGEST_H
#define NUMA_ALIGN_SUGGEST_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Whether the text, `length` long and of at least three characters, is one slip away from `known`, or two if
 * it is longer than four: a character too many, too few or wrong, or two that are swapped.
 */
bool na_is_like(const char *text, size_t length, const char *known);

#endif
