#include "suggest.h"

#include <string.h>

#define LONGEST 40

static int least(int a, int b)
{
	return a < b ? a : b;
}

/* How many slips turn the first `length` characters of `text` into `known`; both have at most LONGEST. */
static int slips(const char *text, size_t length, const char *known, size_t other)
{
	int cost[LONGEST + 1][LONGEST + 1];

	for (size_t i = 0; i <= length; i++)
		for (size_t j = 0; j <= other; j++) {
			if (i == 0 || j == 0) {
				cost[i][j] = (int)(i + j);
				continue;
			}
			cost[i][j] = least(cost[i - 1][j - 1] + (text[i - 1] != known[j - 1]),
					   least(cost[i - 1][j], cost[i][j - 1]) + 1);
			if (i > 1 && j > 1 && text[i - 1] == known[j - 2] && text[i - 2] == known[j - 1])
				cost[i][j] = least(cost[i][j], cost[i - 2][j - 2] + 1);
		}
	return cost[length][other];
}

bool na_is_like(const char *text, size_t length, const char *known)
{
	const size_t other = strlen(known);

	if (length < 3 || length > LONGEST || other > LONGEST)
		return false;
	return slips(text, length, known, other) <= (length > 4 ? 2 : 1);
}
