#include "cpuset.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bind.h"

/* Slurm cuts the list of cores at 1023 characters: a list of that length may be incomplete. */
#define CORES_MAX 1000

static struct na_set slurm_cpus; /* the step's cores according to Slurm, empty if unknown */
static struct na_set online; /* empty if unknown; read once per step, as opening a file is slow in a task */

/* The CPUs that are online, to which an unconfined process can be bound. */
static void read_online(void)
{
	char text[4096];
	ssize_t length;
	int file = open("/sys/devices/system/cpu/online", O_RDONLY | O_CLOEXEC);

	na_set_clear(&online);
	if (file < 0)
		return;
	length = read(file, text, sizeof(text) - 1);
	close(file);
	if (length <= 0)
		return;
	text[length] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (!na_set_parse(&online, text))
		na_set_clear(&online);
}

/*
 * Slurm counts cores in its own order. slurmstepd exports its own translation to Linux numbers,
 * which task/cgroup uses for cpuset.cpus. It is not a public interface, hence dlsym, and no
 * message if it is missing.
 */
void na_cpuset_remember(spank_t spank)
{
	int (*translate)(char *, char **) = NULL;
	char *cores = NULL, *cpus = NULL;

	read_online();
	na_set_clear(&slurm_cpus);
	*(void **)&translate = dlsym(RTLD_DEFAULT, "xcpuinfo_abs_to_mac");
	if (!translate || spank_get_item(spank, S_STEP_ALLOC_CORES, &cores) != ESPANK_SUCCESS || !cores ||
	    strlen(cores) > CORES_MAX)
		return;
	if (translate(cores, &cpus) != 0 || !cpus || !na_set_parse(&slurm_cpus, cpus))
		na_set_clear(&slurm_cpus);
	/* Slurm's allocator keeps a header before the text, so free() cannot take it; it ends with the process. */
}

/* Adds one hexadecimal mask of SLURM_CPU_BIND_LIST, possibly with "0x" and with commas between words. */
static bool add_mask(const char *digits, size_t length, struct na_set *cpus)
{
	int bit = 0;

	for (size_t i = length; i > 0; i--) {
		const char c = digits[i - 1];
		int value;

		if (c >= '0' && c <= '9')
			value = c - '0';
		else if (c >= 'a' && c <= 'f')
			value = c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			value = c - 'A' + 10;
		else
			return (c == 'x' || c == 'X') && i == 2 && digits[0] == '0';
		for (int b = 0; b < 4; b++)
			if (value >> b & 1)
				na_set_add(cpus, bit + b);
		bit += 4;
	}
	return true;
}

/*
 * Adds the masks that task/affinity computed for all tasks of the step on this node, as far as they are
 * within `widest`; nothing if one of them is not a mask.
 */
static void add_masks(spank_t spank, const struct na_set *widest, struct na_set *cpus)
{
	char list[16384];
	char *rest = list, *mask;
	struct na_set masks;

	if (spank_getenv(spank, "SLURM_CPU_BIND_LIST", list, sizeof(list)) != ESPANK_SUCCESS)
		return;
	na_set_clear(&masks);
	while ((mask = strsep(&rest, ",")) != NULL)
		if (!add_mask(mask, strlen(mask), &masks))
			return;
	na_set_and(&masks, widest);
	na_set_or(cpus, &masks);
}

void na_cpuset_of_step(spank_t spank, const struct na_set *mask, struct na_set *cpus)
{
	struct na_set widest;

	*cpus = *mask;
	if (na_bind_widest_cpus(&widest) != 0)
		return;
	if (!na_set_equal(&widest, &online)) {
		/* The kernel cut the mask: a cpuset confines the step. */
		*cpus = widest;
		return;
	}
	/* Nothing confines the process, or the step has the whole node: use what Slurm says. */
	if (!na_set_empty(&slurm_cpus)) {
		*cpus = slurm_cpus;
		na_set_and(cpus, &widest);
	} else {
		add_masks(spank, &widest, cpus);
	}
	/*
	 * A mask that reaches beyond was set deliberately, unless it is simply all CPUs: then nothing
	 * set it (TaskPlugin has no task/affinity), and only Slurm's own report is left.
	 */
	if (na_set_empty(cpus) || (!na_set_subset(mask, cpus) && !na_set_equal(mask, &widest)))
		*cpus = *mask;
}
