/* Lowers the largest of some numbers until their sum fits. */
#ifndef NUMA_ALIGN_QUOTAS_H
#define NUMA_ALIGN_QUOTAS_H

/*
 * Lowers the largest of quota[list[0 .. count - 1]] to a common level, so that their sum is at most
 * `supply`. Those that stay one above the level are the first in the list.
 */
void na_lower_quotas(int *quota, const int *list, int count, int supply);

#endif
