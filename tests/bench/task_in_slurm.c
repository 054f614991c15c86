/* In the plugin itself: each task writes the microseconds of its parts to its stderr, one line of JSON. */
#include <slurm/spank.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bind.h"
#include "hooks.h"
#include "parts.h"

int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode)
{
	int status;

	TIMED(ACCESS, status = __real_access(path, mode));
	return status;
}

int __real_na_bind_set_cpus(const struct na_set *cpus);
int __wrap_na_bind_set_cpus(const struct na_set *cpus)
{
	int status;

	TIMED(CALLS, status = __real_na_bind_set_cpus(cpus));
	return status;
}

/* Every second task of a step gives only the sum, which the clocks around the parts would add to. */
static bool among_timed(spank_t spank)
{
	int id = 0;

	return spank_get_item(spank, S_TASK_ID, &id) == ESPANK_SUCCESS && id % 2 == 0;
}

void __real_na_stepd_task(spank_t spank);
void __wrap_na_stepd_task(spank_t spank)
{
	char text[600];
	size_t used = 0;
	long before;
	double start;

	part_by_part = among_timed(spank);
	memset(part_spent, 0, sizeof(part_spent));
	before = part_faults();
	start = part_now();
	__real_na_stepd_task(spank);
	part_spent[ALL] = part_now() - start;
	part_spent[FAULTS] = (double)(part_faults() - before);
	for (int part = 0; part < PARTS; part++)
		if (part_by_part != (part == ALL || part == FAULTS))
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s\"%s\": %.1f",
						 used ? ", " : "", part_names[part], part_spent[part]);
	slurm_spank_log("{%s}", text);
}
