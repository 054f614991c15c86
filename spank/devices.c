#include "devices.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "placement/gpu_list.h"

#define LIST_MAX 4096 /* 256 GPU UUIDs do not fit; no task has that many */

/*
 * access(2) asks the device cgroup, but with the real uid, which is root's in user_init. With AT_EACCESS
 * the file's mode is checked for the user, but on kernels before 5.8 glibc emulates that and does not ask
 * the cgroup. In a task both uids are the user's.
 */
static bool is_one_user(void)
{
	return getuid() == geteuid() && getgid() == getegid();
}

static bool may_open_file(const char *device, bool one_user)
{
	return device[0] && access(device, R_OK | W_OK) == 0 &&
	       (one_user || faccessat(AT_FDCWD, device, R_OK | W_OK, AT_EACCESS) == 0);
}

/* A network namespace shows only the devices that are in it (rdma-system(8), "netns exclusive"). */
static bool in_namespace(const struct na_nic *nic)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/class/%s/%s", nic->fabric == NA_SLINGSHOT ? "cxi" : "infiniband",
		 nic->name);
	return access(path, F_OK) == 0;
}

na_nics na_devices_nics(const struct na_machine *machine)
{
	const bool one_user = is_one_user();
	na_nics usable = 0;

	for (int i = 0; i < machine->nic_count; i++)
		if (may_open_file(machine->nics[i].device, one_user) && in_namespace(&machine->nics[i]))
			usable |= NA_NIC(i);
	return usable;
}

/* Which of the machine's GPUs may be opened: asked once, since asking is most of a task's cost. */
struct open_gpus {
	bool may[NA_MAX_GPUS];
	int count;
};

static void find_open(const struct na_machine *machine, struct open_gpus *open)
{
	const bool one_user = is_one_user();

	open->count = 0;
	for (int i = 0; i < machine->gpu_count; i++) {
		open->may[i] = may_open_file(machine->gpus[i].device, one_user);
		open->count += open->may[i];
	}
}

static bool get_list(spank_t spank, const char *name, char *list, size_t size)
{
	return spank_getenv(spank, name, list, (int)size) == ESPANK_SUCCESS && list[0];
}

static int compare_positions(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static const char *vendor_of(const struct na_machine *machine)
{
	return machine->gpu_count ? machine->gpus[0].vendor : "";
}

/* The variable of the runtime for the machine's GPUs. */
static const char *visible_variable(const struct na_machine *machine)
{
	return na_visible_variable(vendor_of(machine));
}

static bool has(const int *gpus, int count, int gpu)
{
	for (int i = 0; i < count; i++)
		if (gpus[i] == gpu)
			return true;
	return false;
}

/*
 * The part of the remaining GPUs that a library above the runtime (HIP) shows; its numbers count within
 * these, and its list ends at the first entry outside them. A repetition of the runtime's own list adds nothing:
 * Slurm writes one list into all variables if gres.conf has no Flags=amd_gpu_env.
 */
static int shown_inside(spank_t spank, const struct na_machine *machine, int *gpus, int count)
{
	const char *const *name = na_inner_variables(vendor_of(machine));
	int all[NA_MAX_GPUS], found, kept = 0;
	char list[LIST_MAX], own[LIST_MAX];

	while (*name && !get_list(spank, *name, list, sizeof(list)))
		name++;
	if (!*name ||
	    (get_list(spank, visible_variable(machine), own, sizeof(own)) && strcmp(own, list) == 0))
		return count;
	found = na_gpu_list(machine, list, gpus, count, true, all);
	while (kept < found && has(gpus, count, all[kept]))
		kept++;
	memcpy(gpus, all, (size_t)kept * sizeof(*gpus));
	return kept;
}

static bool hidden_by_variable(spank_t spank, const struct na_machine *machine)
{
	char list[LIST_MAX];

	/* Level Zero treats an empty mask as none. */
	if (strcmp(visible_variable(machine), "ZE_AFFINITY_MASK") == 0)
		return false;
	return spank_getenv(spank, visible_variable(machine), list, sizeof(list)) == ESPANK_SUCCESS &&
	       (na_gpu_list_hides_all(list) ||
		(strcmp(vendor_of(machine), "nvidia") == 0 && na_gpu_list_repeats(list)));
}

/* The same GPUs, or none if one of them may not be opened: users can set variables, but not devices. */
static int all_open(const struct open_gpus *open, const int *gpus, int count)
{
	for (int i = 0; i < count; i++)
		if (!open->may[gpus[i]])
			return 0;
	return count;
}

/* Whether Slurm names the step's GPUs; if so, `count` of them, 0 if their indexes are unknown here. */
static bool named_by_slurm(spank_t spank, const struct na_machine *machine, int gpus[NA_MAX_GPUS], int *count)
{
	static const char *const names[] = { "SLURM_STEP_GPUS", "SLURM_JOB_GPUS" };
	char list[LIST_MAX];

	*count = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!get_list(spank, names[i], list, sizeof(list)))
			continue;
		*count = na_gpu_list(machine, list, NULL, 0, false, gpus);
		return true;
	}
	return false;
}

/* The user's own variable, on a site that gives out whole nodes: it applies to all tasks of the step. */
static int named_by_user(spank_t spank, const struct na_machine *machine, const struct open_gpus *open,
			 int gpus[NA_MAX_GPUS])
{
	char list[LIST_MAX];

	if (!get_list(spank, visible_variable(machine), list, sizeof(list)))
		return 0;
	return all_open(open, gpus, na_gpu_list(machine, list, NULL, 0, true, gpus));
}

/* Parts of GPUs (shards, MPS) are given out without listing the GPU as the job's. */
static bool has_part_of_gpu(spank_t spank)
{
	char text[32];

	return get_list(spank, "SLURM_SHARDS_ON_NODE", text, sizeof(text)) ||
	       get_list(spank, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", text, sizeof(text));
}

/* If Slurm gives out the GPUs, a job for which neither it nor the prolog lists one has none. */
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
	struct open_gpus open;
	int count, kept = 0;
	const bool by_slurm = named_by_slurm(spank, machine, gpus, &count);

	if (!by_slurm) {
		if (given_out_to_others(spank, machine) || hidden_by_variable(spank, machine))
			return 0;
		find_open(machine, &open);
		count = named_by_user(spank, machine, &open, gpus);
	} else if (!count) {
		find_open(machine, &open);
	}
	if (count) {
		if (!by_slurm)
			count = shown_inside(spank, machine, gpus, count);
		qsort(gpus, (size_t)count, sizeof(*gpus), compare_positions);
		return count;
	}
	/* Slurm's index is unknown on this node, or no GPU is listed: take those that the job may open. */
	for (int i = 0; i < machine->gpu_count; i++)
		if (open.may[i] && machine->gpus[i].in_job != 0)
			gpus[kept++] = i;
	if (!by_slurm)
		kept = shown_inside(spank, machine, gpus, kept);
	qsort(gpus, (size_t)kept, sizeof(*gpus), compare_positions);
	return kept;
}

bool na_devices_not_named(spank_t spank)
{
	char list[LIST_MAX];

	return !get_list(spank, "SLURM_STEP_GPUS", list, sizeof(list));
}

bool na_devices_told_apart(spank_t spank)
{
	char bind[LIST_MAX];
	/* "gpu:single:1" (22.05), "gres/gpu:single:1"; a long list of masks does not fit. */
	const spank_err_t status = spank_getenv(spank, "SLURMD_TRES_BIND", bind, sizeof(bind));

	return status == ESPANK_NOSPACE || (status == ESPANK_SUCCESS && strstr(bind, "gpu:"));
}

static int entries(const char *list)
{
	int count = 1;

	for (; *list; list++)
		count += *list == ',';
	return count;
}

/* Those of the step's GPUs that the task may open; without a device cgroup that is all of them. */
static int open_in_step(const struct open_gpus *open, const int *step_gpus, int step_count,
			int gpus[NA_MAX_GPUS])
{
	int count = 0;

	for (int i = 0; i < step_count; i++)
		if (open->may[step_gpus[i]])
			gpus[count++] = step_gpus[i];
	return count;
}

/*
 * What a runtime's list means in a task. With a device cgroup it has as many entries as devices can be
 * opened, so a shorter one means that the cgroup does not confine devices: then the list decides. Its numbers
 * count within the step if the step has all that can be opened, otherwise they are Slurm's indexes. A list of
 * the same length gives the order in which the program counts. UUIDs are never relative.
 */
static int named_in_task(const struct na_machine *machine, const char *list, int open_count, int step_count,
			 const int *mine, int mine_count, int gpus[NA_MAX_GPUS])
{
	const char first = list[strspn(list, " ")];
	const bool numbers = first >= '0' && first <= '9';
	const bool order = entries(list) == open_count && open_count == mine_count;
	const bool within = order || (open_count <= step_count && open_count < machine->gpu_count);

	if (numbers && !order && entries(list) >= open_count)
		return 0;
	return na_gpu_list(machine, list, within ? mine : NULL, mine_count, true, gpus);
}

int na_devices_of_task(spank_t spank, const struct na_machine *machine, const int *step_gpus, int step_count,
		       int gpus[NA_MAX_GPUS])
{
	int mine[NA_MAX_GPUS], mine_count, count;
	struct open_gpus open;
	char list[LIST_MAX];

	find_open(machine, &open);
	mine_count = open_in_step(&open, step_gpus, step_count, mine);
	if (open.count == 0 || mine_count == 0 || hidden_by_variable(spank, machine))
		return 0;
	if (get_list(spank, visible_variable(machine), list, sizeof(list))) {
		count = named_in_task(machine, list, open.count, step_count, mine, mine_count, gpus);
		count = all_open(&open, gpus, count);
		if (count)
			return shown_inside(spank, machine, gpus, count);
	}
	memcpy(gpus, mine, (size_t)mine_count * sizeof(*gpus));
	return shown_inside(spank, machine, gpus, mine_count);
}
