#include "quotas.h"

static int sum_below(const int *quota, const int *list, int count, int level)
{
	int sum = 0;

	for (int i = 0; i < count; i++)
		sum += quota[list[i]] < level ? quota[list[i]] : level;
	return sum;
}

void na_lower_quotas(int *quota, const int *list, int count, int supply)
{
	int level = 0, above = supply + 1, rest;

	while (above - level > 1) {
		const int middle = level + (above - level) / 2;

		if (sum_below(quota, list, count, middle) <= supply)
			level = middle;
		else
			above = middle;
	}
	rest = supply - sum_below(quota, list, count, level);
	for (int i = 0; i < count; i++)
		if (quota[list[i]] > level)
			quota[list[i]] = level + (rest-- > 0);
}
