#include "place.h"

#include <string.h>

#include "claim.h"
#include "explain.h"
#include "tasks.h"

/* Memory without CPUs (HBM, CXL) is used for host memory only if there is no other; a GPU's never is. */
static enum na_node_kind host_memory(const struct na_machine *machine)
{
	for (int i = 0; i < machine->node_count; i++)
		if (machine->nodes[i].kind == NA_NODE_CPU)
			return NA_NODE_CPU;
	return NA_NODE_MEMORY;
}

/*
 * Where host memory for something on `node` goes: to that node, or to the nearest one that is suitable for
 * host memory and that the step may use.
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

void na_gpu_memory(const struct na_step *step, int gpu, struct na_set *mems)
{
	const struct na_machine *machine = step->machine;
	const enum na_node_kind kind = host_memory(machine);
	bool found = false;

	/* Use the table's node, which `topo` shows; a step that may not use it gets the nearest that it may use. */
	for (int i = 0; i < machine->node_count; i++) {
		const struct na_node *node = &machine->nodes[i];

		if (node->kind != kind || !na_set_has(&machine->gpus[gpu].memory_nodes, node->id) ||
		    !na_set_has(&step->mems, node->id))
			continue;
		na_set_add(mems, node->id);
		found = true;
	}
	if (!found)
		local_memory(step, machine->gpus[gpu].node, mems);
}

/* CPUs and memory nodes near the task's GPUs, and the number of GPUs whose node is unknown. */
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
		na_gpu_memory(step, placement->gpus[i], mems);
	}
}

/*
 * preferred-many also for a single node: MPOL_PREFERRED takes a free page of another node before it
 * reclaims the page cache of the preferred one; MPOL_PREFERRED_MANY first tries its nodes alone and
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
		[NA_MEM_INTERLEAVE_ALL] = NA_POLICY_INTERLEAVE,
	};

	placement->policy = policies[step->spec.mem];
	placement->set_memory = !task->mem_explicit && step->spec.mem != NA_MEM_NONE &&
				(step->spec.mem == NA_MEM_LOCAL || !na_set_empty(&placement->mems));
	if (!placement->set_memory)
		placement->policy = NA_POLICY_DEFAULT;
}

/* Interleaves over all nodes for host memory that the step may use, wherever the task's GPUs are. */
static void spread_memory(const struct na_step *step, struct na_placement *placement)
{
	const struct na_machine *machine = step->machine;
	const enum na_node_kind kind = host_memory(machine);

	if (!placement->set_memory || step->spec.mem != NA_MEM_INTERLEAVE_ALL)
		return;
	for (int i = 0; i < machine->node_count; i++)
		if (machine->nodes[i].kind == kind && na_set_has(&step->mems, machine->nodes[i].id))
			na_set_add(&placement->mems, machine->nodes[i].id);
}

static void count_cpus(const struct na_step *step, struct na_placement *placement, const struct na_set *local)
{
	struct na_set own;

	na_cpus_on_nodes(step, placement, &own);
	na_set_and(&own, &placement->cpus);
	placement->own = na_set_count(&own);
	own = *local;
	na_set_and(&own, &placement->cpus);
	placement->beside = na_set_count(&own) - placement->own;
}

static bool place_with_gpus(const struct na_step *step, const struct na_task *task,
			    struct na_placement *placement)
{
	const struct na_choice choice = na_task_choice(step, task->id, task->visible_count);
	struct na_set local, wanted, idle, near;
	int unknown;

	for (int i = 0; i < choice.count; i++)
		placement->gpus[placement->gpu_count++] = task->visible[choice.first + i];
	if (!na_nics_of_task(step, task, placement, &placement->nics))
		return false;
	near_gpus(step, placement, &local, &placement->mems, &unknown);
	if (unknown < placement->gpu_count && !task->cpus_explicit && step->spec.cpus != NA_CPUS_ALL) {
		if (!na_cpus_of_gpus(step, task, placement, &wanted, &idle))
			return false;
		/*
		 * Tasks whose GPUs have no CPU in the step keep the masks that Slurm gave them, unless other tasks
		 * of the step are aligned: then each keeps to its part of the claim, so that no core is used
		 * twice.
		 */
		if (!na_set_empty(&wanted) &&
		    (na_set_meets(&wanted, &local) || na_local_to_step(step, &step->cpus))) {
			placement->set_cpus = true;
			placement->cpus = wanted;
		}
	}
	placement->given = na_given_cpus(step, task, task->id);
	count_cpus(step, placement, &local);
	choose_policy(step, task, placement);
	na_judge(step, task, placement, &local, unknown);
	near = placement->mems;
	spread_memory(step, placement);
	na_judge_spread(placement, &near);
	if (placement->set_cpus)
		na_mention_fewer(step, placement, na_set_count(&idle));
	return true;
}

static bool place_without_gpus(const struct na_step *step, const struct na_task *task,
			       struct na_placement *placement)
{
	const struct na_machine *machine = step->machine;

	if (!task->cpus_explicit && (step->spec.cpus == NA_CPUS_SLICE || step->spec.cpus == NA_CPUS_FAIR)) {
		if (!na_cpus_without_gpus(step, task, &placement->cpus))
			return false;
		placement->set_cpus = !na_set_empty(&placement->cpus);
		if (!placement->set_cpus)
			placement->cpus = task->mask;
	}
	for (int i = 0; i < machine->node_count; i++)
		if (na_set_meets(&machine->nodes[i].cpus, &placement->cpus))
			local_memory(step, i, &placement->mems);
	choose_policy(step, task, placement);
	spread_memory(step, placement);
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

bool na_placement_slices(const struct na_step *step, const struct na_placement *placement,
			 struct na_set *slices)
{
	struct na_claimant claimants[NA_MAX_GPUS];
	const struct na_request request = { .cpus = &placement->cpus,
					    .claimants = claimants,
					    .count = placement->gpu_count,
					    .owners = placement->gpu_count };

	na_claimants_of_gpus(step->machine, placement->gpus, placement->gpu_count, claimants);
	return na_claim(step->machine, &request, slices);
}
