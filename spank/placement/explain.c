#include "explain.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* More memory nodes per package than firmware ever makes for memory controllers. */
#define MANY_NODES_A_PACKAGE 4

static void say(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void say(char *text, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, size, format, arguments);
	va_end(arguments);
}

#define REASON(placement, ...) say((placement)->reason, sizeof((placement)->reason), __VA_ARGS__)
#define ADVICE(placement, ...) say((placement)->advice, sizeof((placement)->advice), __VA_ARGS__)

/* A task can be aligned and still run out of memory, if its program counts on the whole node. */
static void mention_many_nodes(const struct na_machine *machine, struct na_placement *placement)
{
	const size_t used = strlen(placement->advice);
	int nodes = 0;

	for (int i = 0; i < machine->node_count; i++)
		nodes += machine->nodes[i].kind == NA_NODE_CPU;
	if (nodes <= MANY_NODES_A_PACKAGE * machine->package_count)
		return;
	say(placement->advice + used, sizeof(placement->advice) - used,
	    "%sthis machine has %d memory nodes: software that copies its weights to every node holds %d "
	    "copies; "
	    "the firmware setting behind it is NPS or \"L3 cache as NUMA domain\" (AMD), SNC (Intel)",
	    used ? "; " : "", nodes, nodes);
}

static const char has_all[] =
	"the step has all cores of these nodes; with fewer GPUs or tasks per node, each would have more";

/* How it could get more local cores: by a request, or what `otherwise` says if the step already has all. */
static const char *more_local(const struct na_step *step, const struct na_set *local, const char *otherwise)
{
	if (na_set_subset(local, &step->cpus))
		return otherwise;
	return "request more cores near the GPUs with --gres-flags=enforce-binding, or the whole node with "
	       "--exclusive";
}

/* A task is not advised to give up more than half of its CPUs. */
static const char *keep_or_request(const struct na_step *step, const struct na_placement *placement,
				   const struct na_set *local, int all, const char *otherwise)
{
	if (2 * placement->own >= all)
		return "--numa-align=cpus=node keeps to the nodes of its GPUs and leaves the other CPUs idle";
	return more_local(step, local, otherwise);
}

static const char *cpu_option(const struct na_task *task)
{
	return task->cpus_by_variable ? "SLURM_CPU_BIND is set" : "--cpu-bind was given";
}

static const char *without_cpu_option(const struct na_task *task)
{
	return task->cpus_by_variable ? "unset SLURM_CPU_BIND" : "leave --cpu-bind out";
}

static const char *first_unknown(const struct na_step *step, const struct na_placement *placement)
{
	for (int i = 0; i < placement->gpu_count; i++)
		if (step->machine->gpus[placement->gpus[i]].node < 0)
			return step->machine->gpus[placement->gpus[i]].bdf;
	return "?";
}

static void explain_unknown(const struct na_step *step, struct na_placement *placement)
{
	REASON(placement, "the NUMA node of GPU %s is unknown", first_unknown(step, placement));
	ADVICE(placement, "ask the administrator to name the GPU's node in the override file "
			  "(numa-align topo shows it)");
}

/* Some CPUs are local, `remote` of `all` are not. */
static void explain_partial(const struct na_step *step, const struct na_task *task,
			    struct na_placement *placement, const struct na_set *local, int remote, int all)
{
	struct na_set away = placement->cpus;
	char fewer[160];

	for (int i = 0; i < NA_SET_WORDS; i++)
		away.word[i] &= ~local->word[i];
	if (task->cpus_explicit) {
		REASON(placement, "%d of %d CPUs are not local to its GPUs (%s)", remote, all,
		       cpu_option(task));
		ADVICE(placement, "%s", without_cpu_option(task));
	} else if (!placement->set_cpus) {
		REASON(placement, "%d of %d CPUs are not local to its GPUs; they stay as Slurm chose them",
		       remote, all);
		ADVICE(placement, "%s", keep_or_request(step, placement, local, all, has_all));
	} else if (step->spec.cpus == NA_CPUS_FAIR) {
		REASON(placement,
		       "%d of %d CPUs are not local to its GPUs: cpus=fair fills it with idle cores up to "
		       "what Slurm gave it",
		       remote, all);
		ADVICE(placement, "--numa-align=cpus=slice keeps to local cores and leaves those idle");
	} else if (na_local_to_step(step, &away)) {
		REASON(placement,
		       "%d of %d CPUs are not local to its GPUs, where this step has too few cores", remote,
		       all);
		ADVICE(placement, "%s", more_local(step, local, has_all));
	} else {
		REASON(placement,
		       "%d of %d CPUs are on nodes without a GPU of this step: the nearest cores that were "
		       "left",
		       remote, all);
		say(fewer, sizeof(fewer),
		    "with the %d CPUs that are local to its GPUs it would be aligned: request no more, with "
		    "--gres-flags=enforce-binding",
		    all - remote);
		ADVICE(placement, "%s", keep_or_request(step, placement, local, all, fewer));
	}
}

/* None of its CPUs is local. */
static void explain_remote(const struct na_step *step, const struct na_task *task,
			   struct na_placement *placement, const struct na_set *local)
{
	const bool memory = placement->set_memory && step->spec.mem != NA_MEM_LOCAL &&
			    step->spec.mem != NA_MEM_INTERLEAVE_ALL;
	char explicit[96];
	const char *cause;

	placement->state = memory ? NA_MEMORY_ONLY : NA_UNALIGNED;
	if (task->cpus_explicit) {
		say(explicit, sizeof(explicit), "%s and names no CPU near its GPUs", cpu_option(task));
		cause = explicit;
	} else if (!na_set_meets(local, &step->cpus)) {
		cause = placement->set_cpus
				? "this step has no CPU near its GPUs; it has a share of those farther away"
				: "this step has no CPU near its GPUs; its CPUs stay as Slurm chose them";
	} else {
		cause = placement->set_cpus
				? "this step has too few CPUs near its GPUs; it has some farther away"
				: "none of its CPUs is near its GPUs; they stay as Slurm chose them";
	}
	REASON(placement, "%s%s", cause, memory ? "" : "; its memory does not follow its GPUs either");
	ADVICE(placement, "%s",
	       task->cpus_explicit ? without_cpu_option(task) : more_local(step, local, has_all));
}

void na_judge(const struct na_step *step, const struct na_task *task, struct na_placement *placement,
	      const struct na_set *local, int unknown)
{
	struct na_set here = placement->cpus;
	const int all = na_set_count(&here);
	int local_count;

	na_set_and(&here, local);
	local_count = na_set_count(&here);
	if (unknown > 0 && unknown == placement->gpu_count) {
		placement->state = NA_UNALIGNED;
		explain_unknown(step, placement);
	} else if (local_count == 0) {
		explain_remote(step, task, placement, local);
	} else if (local_count < all) {
		placement->state = NA_PARTIAL;
		explain_partial(step, task, placement, local, all - local_count, all);
	} else if (unknown > 0) {
		placement->state = NA_PARTIAL;
		explain_unknown(step, placement);
	} else {
		placement->state = NA_ALIGNED;
	}
	mention_many_nodes(step->machine, placement);
}

void na_judge_spread(struct na_placement *placement, const struct na_set *local)
{
	const size_t used = strlen(placement->reason);
	char over[64];

	if (na_set_subset(&placement->mems, local))
		return;
	if (!na_set_format(&placement->mems, over, sizeof(over)))
		say(over, sizeof(over), "of the step");
	if (placement->state == NA_ALIGNED)
		placement->state = NA_PARTIAL;
	say(placement->reason + used, sizeof(placement->reason) - used,
	    "%smem=interleave-all spreads its memory over NUMA nodes %s", used ? "; " : "", over);
	if (!placement->advice[0])
		ADVICE(placement, "--numa-align=mem=interleave keeps to the nodes of its GPUs");
}

void na_judge_memory(const struct na_task *task, struct na_placement *placement, const struct na_set *nodes)
{
	const size_t used = strlen(placement->reason);
	char away[64];

	if (na_set_empty(nodes))
		return;
	if (placement->gpu_count && !na_set_empty(&placement->mems) &&
	    !na_set_subset(nodes, &placement->mems)) {
		if (!na_set_format(nodes, away, sizeof(away)))
			say(away, sizeof(away), "others");
		if (placement->state == NA_ALIGNED)
			placement->state = NA_PARTIAL;
		say(placement->reason + used, sizeof(placement->reason) - used,
		    "%sits memory policy names NUMA nodes %s, not only those near its GPUs%s",
		    used ? "; " : "", away,
		    !task->mem_explicit	    ? ""
		    : task->mem_by_variable ? " (SLURM_MEM_BIND is set)"
					    : " (--mem-bind was given)");
		if (!placement->advice[0] && task->mem_explicit)
			ADVICE(placement, "%s",
			       task->mem_by_variable ? "unset SLURM_MEM_BIND" : "leave --mem-bind out");
	}
	placement->mems = *nodes;
}

void na_mention_fewer(const struct na_step *step, struct na_placement *placement, int idle)
{
	const int cpus = na_set_count(&placement->cpus);

	/* With smt=off and cpus=node the user asked for fewer; if none of its CPUs is local, the reason says so. */
	if (cpus >= placement->given || !step->spec.smt || step->spec.cpus == NA_CPUS_NODE ||
	    placement->own + placement->beside == 0)
		return;
	if (idle > 0)
		say(placement->note, sizeof(placement->note),
		    "it has %d of the %d CPUs that Slurm gave it, those near its GPUs; %d CPUs of the step "
		    "idle: "
		    "request cores near the GPUs with --gres-flags=enforce-binding, or %s",
		    cpus, placement->given, idle,
		    step->spec.cpus == NA_CPUS_FAIR ? "fewer tasks" : "fill up with --numa-align=cpus=fair");
	else
		say(placement->note, sizeof(placement->note),
		    "it has %d of the %d CPUs that Slurm gave it: the others are nearer to the GPUs of other "
		    "tasks",
		    cpus, placement->given);
}

void na_judge_without_gpus(const struct na_step *step, struct na_placement *placement)
{
	placement->state = NA_ALIGNED;
	mention_many_nodes(step->machine, placement);
}

void na_judge_without_visible(struct na_placement *placement)
{
	placement->state = NA_UNALIGNED;
	REASON(placement, "the step has GPUs but this task may open, or is shown, none of them");
	ADVICE(placement,
	       "see --gpu-bind and --gpus-per-task in srun(1), and CUDA_VISIBLE_DEVICES in its environment");
}

void na_judge_beyond(struct na_placement *placement)
{
	placement->state = NA_UNALIGNED;
	REASON(placement, "the step has more tasks on this node than the %d that can be told apart",
	       NA_MAX_TASKS);
	ADVICE(placement, "start fewer tasks a node");
}
