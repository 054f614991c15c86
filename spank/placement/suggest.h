/* Which known word a mistyped one may have been meant for. */
#ifndef NUMA_ALIGN_SUGGEST_H
#define NUMA_ALIGN_SUGGEST_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Whether the text, `length` long and of at least three, is one slip away from `known`, or two where it is longer than four characters:
 * a character too many, too few, another one, or two that have changed places.
 */
bool na_is_like(const char *text, size_t length, const char *known);

#endif
