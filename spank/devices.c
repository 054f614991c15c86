#include "devices.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST_MAX 4096 /* 256 GPU UUIDs do not fit; nobody has a task with that many */

/*
 * access(2) asks the device cgroup, but with the real uid, which in user_init is root's; with AT_EACCESS
 * the file's mode counts for the user, but where the kernel is older than 5.8 glibc works that out itself
 * and asks no cgroup.
 */
static bool may_open(const struct na_gpu *gpu)
{
	return gpu->device[0] && access(gpu->device, R_OK | W_OK) == 0 &&
	       faccessat(AT_FDCWD, gpu->device, R_OK | W_OK, AT_EACCESS) == 0;
}

static int accessible(const struct na_machine *machine, int gpus[NA_MAX_GPUS])
{
	int count = 0;

	for (int i = 0; i < machine->gpu_count; i++)
		if (may_open(&machine->gpus[i]))
			gpus[count++] = i;
	return count;
}

static bool get_list(spank_t spank, const char *name, char *list, size_t size)
{
	return spank_getenv(spank, name, list, (int)size) == ESPANK_SUCCESS && list[0];
}

static int by_index(const struct na_machine *machine, int index)
{
	for (int i = 0; i < machine->gpu_count; i++)
		if (machine->gpus[i].index == index)
			return i;
	return -1;
}

/* CUDA takes any unique start of a UUID; MIG-GPU-<uuid>/x/y names the GPU that the instance is of. */
static int by_uuid(const struct na_machine *machine, const char *name)
{
	size_t length;
	int found = -1;

	if (strncmp(name, "MIG-GPU-", 8) == 0)
		name += 4;
	length = strcspn(name, "/");
	for (int i = 0; i < machine->gpu_count && length > 4; i++)
		if (strncmp(machine->gpus[i].uuid, name, length) == 0)
			found = found < 0 ? i : -1;
	return found;
}

static bool is_number(const char *text, int *value)
{
	char *end;
	const long number = strtol(text, &end, 10);

	*value = (int)number;
	return *text >= '0' && *text <= '9' && !*end && number < NA_MAX_GPUS;
}

static void add_once(int gpus[NA_MAX_GPUS], int *count, int gpu)
{
	for (int i = 0; i < *count; i++)
		if (gpus[i] == gpu)
			return;
	if (*count < NA_MAX_GPUS)
		gpus[(*count)++] = gpu;
}

/*
 * Reads a list of GPUs. A number is Slurm's index, or with `among` the position in that list.
 * Returns how many GPUs. Slurm's list is whole: 0 if any entry cannot be told, since half of it is worse
 * than none. A runtime's (`of_runtime`) ends at its first invalid entry, as CUDA reads it; a MIG UUID is
 * valid and names a GPU that we do not know.
 */
static int read_list(const struct na_machine *machine, char *list, const int *among, int among_count,
		     bool of_runtime, int gpus[NA_MAX_GPUS])
{
	char *rest = list, *entry;
	int count = 0;

	while ((entry = strsep(&rest, ",")) != NULL) {
		int number, gpu;

		if (!is_number(entry, &number))
			gpu = by_uuid(machine, entry);
		else if (among)
			gpu = number < among_count ? among[number] : -1;
		else
			gpu = by_index(machine, number);
		if (gpu < 0)
			return of_runtime && strncmp(entry, "MIG-", 4) != 0 ? count : 0;
		add_once(gpus, &count, gpu);
	}
	return count;
}

static int compare_positions(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static const char *visible_variable(const struct na_gpu *gpu)
{
	if (strcmp(gpu->vendor, "amd") == 0)
		return "ROCR_VISIBLE_DEVICES";
	if (strcmp(gpu->vendor, "intel") == 0)
		return "ZE_AFFINITY_MASK";
	return "CUDA_VISIBLE_DEVICES";
}

/* CUDA, ROCm: an empty list, or one whose first entry is -1, shows no GPU. */
static bool hidden_by_variable(spank_t spank, const struct na_machine *machine)
{
	char list[LIST_MAX];

	if (machine->gpu_count == 0 || strcmp(visible_variable(&machine->gpus[0]), "ZE_AFFINITY_MASK") == 0)
		return false;
	return spank_getenv(spank, visible_variable(&machine->gpus[0]), list, sizeof(list)) ==
		       ESPANK_SUCCESS &&
	       (!list[0] || strcmp(list, "-1") == 0 || strncmp(list, "-1,", 3) == 0);
}

/* The same GPUs, or none if not all of them may be opened: a variable is the user's, the devices are not. */
static int all_open(const struct na_machine *machine, const int *gpus, int count)
{
	for (int i = 0; i < count; i++)
		if (!may_open(&machine->gpus[gpus[i]]))
			return 0;
	return count;
}

/* Whether Slurm names the step's GPUs; if so `count` of them, 0 where its index is not known on this node. */
static bool named_by_slurm(spank_t spank, const struct na_machine *machine, int gpus[NA_MAX_GPUS], int *count)
{
	static const char *const names[] = { "SLURM_STEP_GPUS", "SLURM_JOB_GPUS" };
	char list[LIST_MAX];

	*count = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!get_list(spank, names[i], list, sizeof(list)))
			continue;
		*count = read_list(machine, list, NULL, 0, false, gpus);
		return true;
	}
	return false;
}

/* What the user says, at a site that gives out whole nodes: it holds for all tasks of the step alike. */
static int named_by_user(spank_t spank, const struct na_machine *machine, int gpus[NA_MAX_GPUS])
{
	char list[LIST_MAX];

	if (machine->gpu_count == 0 ||
	    !get_list(spank, visible_variable(&machine->gpus[0]), list, sizeof(list)))
		return 0;
	return all_open(machine, gpus, read_list(machine, list, NULL, 0, true, gpus));
}

/* Parts of GPUs (shards, MPS) are given out without naming the GPU as the job's. */
static bool has_part_of_gpu(spank_t spank)
{
	char text[32];

	return get_list(spank, "SLURM_SHARDS_ON_NODE", text, sizeof(text)) ||
	       get_list(spank, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", text, sizeof(text));
}

/* Where Slurm gives out the GPUs, a job for which neither it nor the prolog names one has none. */
static bool given_out_to_others(spank_t spank, const struct na_machine *machine)
{
	bool in_use = false;

	for (int i = 0; i < machine->gpu_count; i++) {
		if (machine->gpus[i].in_job > 0)
			return false;
		in_use |= machine->gpus[i].index >= 0;
	}
	return in_use && !has_part_of_gpu(spank);
}

int na_devices_of_step(spank_t spank, const struct na_machine *machine, int gpus[NA_MAX_GPUS])
{
	int open[NA_MAX_GPUS], count, kept = 0;

	if (!named_by_slurm(spank, machine, gpus, &count)) {
		if (given_out_to_others(spank, machine) || hidden_by_variable(spank, machine))
			return 0;
		count = named_by_user(spank, machine, gpus);
	}
	if (count) {
		qsort(gpus, (size_t)count, sizeof(*gpus), compare_positions);
		return count;
	}
	/* Slurm's index is not known on this node, or nobody names any: what the job may open. */
	count = accessible(machine, open);
	for (int i = 0; i < count; i++)
		if (machine->gpus[open[i]].in_job != 0)
			gpus[kept++] = open[i];
	return kept;
}

bool na_devices_not_named(spank_t spank)
{
	char list[LIST_MAX];

	return !get_list(spank, "SLURM_STEP_GPUS", list, sizeof(list));
}

static int entries(const char *list)
{
	int count = 1;

	for (; *list; list++)
		count += *list == ',';
	return count;
}

/* What the task may open of the step's GPUs; without a device cgroup that is all of them. */
static int open_in_step(const struct na_machine *machine, const int *step_gpus, int step_count,
			int gpus[NA_MAX_GPUS])
{
	int count = 0;

	for (int i = 0; i < step_count; i++)
		if (may_open(&machine->gpus[step_gpus[i]]))
			gpus[count++] = step_gpus[i];
	return count;
}

int na_devices_of_task(spank_t spank, const struct na_machine *machine, const int *step_gpus, int step_count,
		       int gpus[NA_MAX_GPUS])
{
	int open[NA_MAX_GPUS], mine[NA_MAX_GPUS];
	const int open_count = accessible(machine, open);
	const int mine_count = open_in_step(machine, step_gpus, step_count, mine);
	char list[LIST_MAX];
	int count;

	if (open_count == 0 || mine_count == 0 || hidden_by_variable(spank, machine))
		return 0;
	/*
	 * With a device cgroup the list has as many entries as devices can be opened, so a shorter
	 * one means that the cgroup did not tell: then the list decides. It counts as Slurm's index
	 * where more than the step's GPUs are open, otherwise within the step. UUIDs are never relative.
	 */
	if (get_list(spank, visible_variable(&machine->gpus[mine[0]]), list, sizeof(list)) &&
	    (entries(list) < open_count || list[0] < '0' || list[0] > '9')) {
		const bool within = open_count <= step_count && open_count < machine->gpu_count;

		count = read_list(machine, list, within ? mine : NULL, mine_count, true, gpus);
		count = all_open(machine, gpus, count);
		if (count)
			return count;
	}
	memcpy(gpus, mine, (size_t)mine_count * sizeof(*gpus));
	return mine_count;
}
