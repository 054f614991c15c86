#include "parts.h"

#include <stdlib.h>

#include "units.h"

bool na_claim_part(const struct na_machine *machine, const struct na_set *cpus, int part, int parts,
		   struct na_set *slice)
{
	struct na_units units;
	int *size, *start;
	bool done;

	na_set_clear(slice);
	if (!na_units_init(&units, machine, cpus, parts))
		return false;
	size = calloc((size_t)parts, sizeof(*size));
	start = calloc((size_t)parts, sizeof(*start));
	done = size && start;
	if (done && units.count >= parts) {
		for (int i = 0; i < parts; i++)
			size[i] = units.count / parts + (i < units.count % parts);
		na_units_lay(&units, 0, size, parts, start);
		na_units_take(&units, start[part], size[part], slice);
	} else if (done && units.count > 0) {
		na_units_take(&units, part * units.count / parts, 1, slice);
	}
	free(size);
	free(start);
	na_units_free(&units);
	return done;
}
