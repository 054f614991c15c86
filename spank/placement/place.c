#include "place.h"

#include <string.h>

#include "claim.h"
#include "explain.h"

const char *na_state_name(enum na_state state)
{
	static const char *const names[] = { "aligned", "partial", "memory-only", "unaligned" };

	return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "";
}

const char *na_policy_name(enum na_policy policy)
{
	static const char *const names[] = { "default",	   "preferred", "bind",
					     "interleave", "local",	"preferred-many" };

	return (size_t)policy < sizeof(names) / sizeof(names[0]) ? names[policy] : "";
}

struct na_choice na_choose_gpus(int id, int tasks, int visible)
{
	struct na_choice choice = { .first = 0, .count = visible, .share = 0, .sharers = 1 };

	if (tasks <= 1 || visible <= 0)
		return choice;
	if (tasks <= visible) {
		choice.first = (int)((long)id * visible / tasks);
		choice.count = (int)((long)(id + 1) * visible / tasks) - choice.first;
		return choice;
	}
	choice.first = id % visible;
	choice.count = 1;
	choice.share = id / visible;
	choice.sharers = (tasks - choice.first + visible - 1) / visible;
	return choice;
}

/* With smt=off only the first hardware thread, of those in the step, of each core. */
static void usable_cpus(const struct na_step *step, struct na_set *cpus)
{
	*cpus = step->cpus;
	na_set_and(cpus, &step->machine->cpus);
	if (step->spec.smt)
		return;
	for (int i = 0; i < step->machine->core_count; i++) {
		const struct na_core *core = &step->machine->cores[i];
		bool first = true;

		for (int t = 0; t < core->threads; t++) {
			if (!na_set_has(cpus, core->cpu[t]))
				continue;
			if (!first)
				na_set_remove(cpus, core->cpu[t]);
			first = false;
		}
	}
}

/* Memory without CPUs (HBM, CXL) is for host memory only where there is no other; a GPU's never is. */
static enum na_node_kind host_memory(const struct na_machine *machine)
{
	for (int i = 0; i < machine->node_count; i++)
		if (machine->nodes[i].kind == NA_NODE_CPU)
			return NA_NODE_CPU;
	return NA_NODE_MEMORY;
}

/*
 * Where host memory for something on `node` goes: that node, or the nearest one that is for host
 * memory and that the step may use.
 */
static void local_memory(const struct na_step *step, int node, struct na_set *mems)
{
	const struct na_machine *machine = step->machine;
	const enum na_node_kind kind = host_memory(machine);
	int nearest = -1;

	if (node < 0)
		return;
	for (int i = 0; i < machine->node_count; i++) {
		if (machine->nodes[i].kind != kind || !na_set_has(&step->mems, machine->nodes[i].id))
			continue;
		if (nearest < 0 || na_rank(machine, node, i) < na_rank(machine, node, nearest))
			nearest = i;
	}
	if (nearest >= 0)
		na_set_add(mems, machine->nodes[nearest].id);
}

static int gpu_position_in_step(const struct na_step *step, int gpu)
{
	for (int i = 0; i < step->gpu_count; i++)
		if (step->gpus[i] == gpu)
			return i;
	return -1;
}

/* Claims for the GPUs of the step; gives what some of them have together. */
static bool claim_for_gpus(const struct na_step *step, const int *gpus, int count, struct na_set *slice)
{
	struct na_claimant claimants[NA_MAX_GPUS];
	bool wanted[NA_MAX_GPUS] = { false };
	struct na_set cpus;

	for (int i = 0; i < step->gpu_count; i++)
		claimants[i].node = step->machine->gpus[step->gpus[i]].node;
	for (int i = 0; i < count; i++) {
		const int position = gpu_position_in_step(step, gpus[i]);

		if (position >= 0)
			wanted[position] = true;
	}
	usable_cpus(step, &cpus);
	return na_claim_some(step->machine, &cpus, claimants, step->gpu_count, wanted, slice);
}

/* Divides one GPU's slice among the tasks that share the GPU. */
static bool share_slice(const struct na_step *step, int node, int share, int sharers, struct na_set *slice)
{
	struct na_claimant claimants[NA_MAX_TASKS];
	bool wanted[NA_MAX_TASKS] = { false };
	const struct na_set whole = *slice;

	for (int i = 0; i < sharers; i++)
		claimants[i].node = node;
	wanted[share] = true;
	return na_claim_some(step->machine, &whole, claimants, sharers, wanted, slice);
}

/* Of tasks that see the same GPUs of one node, it does not matter which core is whose: all are as near. */
static bool sees_one_node(const struct na_step *step, const struct na_task *task)
{
	const struct na_gpu *gpus = step->machine->gpus;

	for (int i = 1; i < task->visible_count; i++)
		if (gpus[task->visible[i]].node != gpus[task->visible[0]].node)
			return false;
	return true;
}

/*
 * Which of its visible GPUs the task uses. If the tasks do not all see all GPUs of the step, Slurm
 * has told them apart already: a task has all that it sees, unless that many tasks with that many
 * GPUs each cannot all have their own.
 */
static struct na_choice choose(const struct na_step *step, const struct na_task *task)
{
	struct na_choice choice = { .count = task->visible_count, .sharers = 1 };

	if (task->visible_count >= step->gpu_count)
		return na_choose_gpus(task->id, step->task_count, task->visible_count);
	/* Rounded down where a task sees several: a socket with more GPUs than the other is no crowd. */
	if (task->visible_count > 1 && (long)step->task_count * task->visible_count < 2L * step->gpu_count)
		return choice;
	choice.first = task->id % task->visible_count;
	choice.count = 1;
	if (task->turn >= 0) {
		const int shared = sees_one_node(step, task) ? task->visible_count : 1;

		choice.sharers =
			(int)(((long)step->task_count * shared + step->gpu_count - 1) / step->gpu_count);
		choice.share = task->turn % choice.sharers;
	}
	return choice;
}

int na_step_turn_gpu(const struct na_step *step, const struct na_task *task)
{
	if (task->visible_count <= 0 || task->id < 0 || task->id >= step->task_count)
		return -1;
	return task->visible[sees_one_node(step, task) ? 0 : choose(step, task).first];
}

/* The CPUs that the claim gives to a task with GPUs, by what cpus= asks for. */
static bool cpus_of_gpus(const struct na_step *step, const struct na_task *task,
			 const struct na_choice *choice, const struct na_placement *placement,
			 struct na_set *cpus)
{
	const bool together = task->turn >= 0 && choice->sharers > 1 && sees_one_node(step, task);
	struct na_set usable;

	na_set_clear(cpus);
	if (step->spec.cpus == NA_CPUS_NODE) {
		for (int i = 0; i < placement->gpu_count; i++)
			na_local_cpus(step->machine, step->machine->gpus[placement->gpus[i]].node, cpus);
		usable_cpus(step, &usable);
		na_set_and(cpus, &usable);
		return true;
	}
	if (!claim_for_gpus(step, together ? task->visible : placement->gpus,
			    together ? task->visible_count : placement->gpu_count, cpus))
		return false;
	if (choice->sharers <= 1)
		return true;
	return share_slice(step, step->machine->gpus[placement->gpus[0]].node, choice->share, choice->sharers,
			   cpus);
}

/* CPUs and memory nodes near the task's GPUs, and how many GPUs are on a node that nothing tells. */
static void near_gpus(const struct na_step *step, const struct na_placement *placement, struct na_set *cpus,
		      struct na_set *mems, int *unknown)
{
	na_set_clear(cpus);
	na_set_clear(mems);
	*unknown = 0;
	for (int i = 0; i < placement->gpu_count; i++) {
		const int node = step->machine->gpus[placement->gpus[i]].node;

		*unknown += node < 0;
		na_local_cpus(step->machine, node, cpus);
		local_memory(step, node, mems);
	}
}

/*
 * preferred-many also for a single node: MPOL_PREFERRED takes a free page of another node before it
 * reclaims the page cache of the preferred one, MPOL_PREFERRED_MANY first tries its nodes alone and
 * wakes their kswapd (mm/mempolicy.c, alloc_pages_preferred_many).
 */
static void choose_policy(const struct na_step *step, const struct na_task *task,
			  struct na_placement *placement)
{
	static const enum na_policy policies[] = {
		[NA_MEM_PREFERRED] = NA_POLICY_PREFERRED_MANY,
		[NA_MEM_BIND] = NA_POLICY_BIND,
		[NA_MEM_INTERLEAVE] = NA_POLICY_INTERLEAVE,
		[NA_MEM_LOCAL] = NA_POLICY_LOCAL,
		[NA_MEM_NONE] = NA_POLICY_DEFAULT,
	};

	placement->policy = policies[step->spec.mem];
	placement->set_memory = !task->mem_by_hand && step->spec.mem != NA_MEM_NONE &&
				(step->spec.mem == NA_MEM_LOCAL || !na_set_empty(&placement->mems));
	if (!placement->set_memory)
		placement->policy = NA_POLICY_DEFAULT;
}

bool na_near_gpu_of_step(const struct na_step *step, const struct na_set *cpus)
{
	for (int i = 0; i < step->gpu_count; i++) {
		struct na_set local;

		na_set_clear(&local);
		na_local_cpus(step->machine, step->machine->gpus[step->gpus[i]].node, &local);
		if (na_set_meets(&local, cpus))
			return true;
	}
	return false;
}

static bool place_with_gpus(const struct na_step *step, const struct na_task *task,
			    struct na_placement *placement)
{
	const struct na_choice choice = choose(step, task);
	struct na_set local, wanted;
	int unknown;

	for (int i = 0; i < choice.count; i++)
		placement->gpus[placement->gpu_count++] = task->visible[choice.first + i];
	near_gpus(step, placement, &local, &placement->mems, &unknown);
	if (unknown < placement->gpu_count && !task->cpus_by_hand && step->spec.cpus != NA_CPUS_ALL) {
		if (!cpus_of_gpus(step, task, &choice, placement, &wanted))
			return false;
		/*
		 * Tasks whose GPUs have no CPU in the step keep the masks that Slurm gave them, unless others
		 * of the step are aligned: then each keeps to its part of the claim, so that no core is held
		 * twice.
		 */
		if (!na_set_empty(&wanted) &&
		    (na_set_meets(&wanted, &local) || na_near_gpu_of_step(step, &step->cpus))) {
			placement->set_cpus = true;
			placement->cpus = wanted;
		}
	}
	choose_policy(step, task, placement);
	na_judge(step, task, placement, &local, unknown);
	return true;
}

/* How many cores of a set are on each node; returns how many there are on all nodes together. */
static int count_cores(const struct na_machine *machine, const struct na_set *cpus,
		       int per_node[NA_MAX_NODES])
{
	int cores = 0;

	for (int i = 0; i < machine->core_count; i++) {
		const struct na_core *core = &machine->cores[i];
		bool mine = false;

		for (int t = 0; t < core->threads; t++)
			mine |= na_set_has(cpus, core->cpu[t]);
		if (mine && core->node >= 0) {
			per_node[core->node]++;
			cores++;
		}
	}
	return cores;
}

/*
 * The tasks of a step without GPUs are spread over its nodes, as many on each as it has cores for.
 * With more nodes than tasks, each task has several nodes that lie together.
 */
static bool cpus_without_gpus(const struct na_step *step, const struct na_task *task, struct na_set *cpus)
{
	const int tasks = step->task_count;
	struct na_claimant claimants[NA_MAX_TASKS];
	bool wanted[NA_MAX_TASKS] = { false };
	int per_node[NA_MAX_NODES] = { 0 }, cores, nodes = 0;
	struct na_set usable;

	usable_cpus(step, &usable);
	cores = count_cores(step->machine, &usable, per_node);
	for (int n = 0; n < step->machine->node_count; n++)
		nodes += per_node[n] > 0;
	if (tasks < nodes || cores == 0)
		return na_claim_part(step->machine, &usable, task->id, tasks, cpus);
	/* Task i is at home where core number i * cores / tasks is. */
	for (int i = 0, node = 0, before = 0; i < tasks; i++) {
		const int core = (int)((long)i * cores / tasks);

		while (core >= before + per_node[node])
			before += per_node[node++];
		claimants[i].node = node;
	}
	wanted[task->id] = true;
	return na_claim_some(step->machine, &usable, claimants, tasks, wanted, cpus);
}

static bool place_without_gpus(const struct na_step *step, const struct na_task *task,
			       struct na_placement *placement)
{
	const struct na_machine *machine = step->machine;

	if (!task->cpus_by_hand && step->spec.cpus == NA_CPUS_SLICE) {
		if (!cpus_without_gpus(step, task, &placement->cpus))
			return false;
		placement->set_cpus = !na_set_empty(&placement->cpus);
		if (!placement->set_cpus)
			placement->cpus = task->mask;
	}
	for (int i = 0; i < machine->node_count; i++)
		if (na_set_meets(&machine->nodes[i].cpus, &placement->cpus))
			local_memory(step, i, &placement->mems);
	choose_policy(step, task, placement);
	na_judge_without_gpus(step, placement);
	return true;
}

bool na_step_place(const struct na_step *step, const struct na_task *task, struct na_placement *placement)
{
	memset(placement, 0, sizeof(*placement));
	placement->cpus = task->mask;
	if (task->id < 0 || task->id >= step->task_count || step->task_count > NA_MAX_TASKS) {
		na_judge_beyond(placement);
		return true;
	}
	if (task->visible_count > 0)
		return place_with_gpus(step, task, placement);
	if (step->gpu_count == 0)
		return place_without_gpus(step, task, placement);
	na_judge_without_visible(placement);
	return true;
}

bool na_step_slice(const struct na_step *step, int gpu, struct na_set *cpus, struct na_set *mems)
{
	na_set_clear(mems);
	local_memory(step, step->machine->gpus[gpu].node, mems);
	return claim_for_gpus(step, &gpu, 1, cpus);
}
