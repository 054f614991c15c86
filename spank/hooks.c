#include "hooks.h"

#include <errno.h>
#include <limits.h>
#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bind.h"
#include "cpuset.h"
#include "devices.h"
#include "enclosing.h"
#include "meeting.h"
#include "node_memory.h"
#include "option.h"
#include "report.h"
#include "placement/explicit.h"
#include "placement/explain.h"
#include "placement/place.h"
#include "table_file.h"

#define INTERACTIVE_STEP 0xfffffffaU /* the lowest of the numbers that srun's own steps do not have */
#define BATCH_STEP 0xfffffffbU
#define EXTERN_STEP 0xfffffffcU /* SLURM_EXTERN_CONT: has no task of the user's */

/* Filled in user_init, inherited by the tasks through fork. */
static struct {
	bool active;
	struct na_step step;
	struct na_machine *machine;
	struct na_explicit explicit;
	bool cpus_by_variable, mem_by_variable;
	bool by_user; /* somebody asked for this step, not only the site's default */
	bool dry; /* decide and set nothing */
	uint64_t memory_limit_mb;
	struct na_meeting *meeting; /* of the tasks of this node, NULL if it cannot be made */
	char failure[320]; /* why no task can be aligned, "" otherwise */
} context;

static long cpu_microseconds(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) != 0)
		return 0;
	return now.tv_sec * 1000000L + now.tv_nsec / 1000;
}

/* Until user_init the variable is srun's request; in the tasks it is what Slurm itself chose. */
static bool requested(spank_t spank, const char *variable, char *value, size_t size, bool *too_long)
{
	const spank_err_t status = spank_getenv(spank, variable, value, (int)size);

	*too_long = status == ESPANK_NOSPACE; /* a long list of maps or masks */
	return status == ESPANK_SUCCESS || *too_long;
}

/* A granularity is kept at the place near the GPUs; the site's default gives way to any explicit word. */
static void read_cpu_bind(spank_t spank, enum na_decider decider, bool by_user)
{
	char value[256];
	bool too_long;
	enum na_cpu_bind bind;

	if (decider == NA_BY_ENCLOSING_STEP ||
	    !requested(spank, "SLURM_CPU_BIND", value, sizeof(value), &too_long))
		return;
	/* Slurm 22.05 writes "quiet,corescores": the type, and the user's text in place of a list. */
	if (spank_getenv(spank, "SLURM_CPU_BIND_TYPE", value, sizeof(value)) == ESPANK_SUCCESS)
		too_long = false;
	bind = too_long ? NA_CPU_BIND_EXPLICIT : na_cpu_bind(value);
	if (bind == NA_CPU_BIND_EXPLICIT || (bind != NA_CPU_BIND_NOTHING && !by_user))
		context.explicit.cpus = decider == NA_BY_VARIABLE ? "SLURM_CPU_BIND" : "--cpu-bind";
	else if (bind == NA_CPU_BIND_NODES && context.step.spec.cpus != NA_CPUS_ALL)
		context.step.spec.cpus = NA_CPUS_NODE;
}

/*
 * Slurm took `local` from the CPUs before they were moved, so it has to be set again. If the CPUs
 * stay, Slurm's own setting is right; and mem=none leaves the policy alone in any case.
 */
static void read_mem_bind(spank_t spank, enum na_decider decider)
{
	char value[256];
	bool too_long;
	enum na_mem_bind bind;

	if (decider == NA_BY_ENCLOSING_STEP ||
	    !requested(spank, "SLURM_MEM_BIND", value, sizeof(value), &too_long))
		return;
	bind = too_long ? NA_MEM_BIND_EXPLICIT : na_mem_bind(value);
	if (bind == NA_MEM_BIND_NOTHING)
		return;
	if (bind == NA_MEM_BIND_EXPLICIT || context.explicit.cpus || context.step.spec.mem == NA_MEM_NONE)
		context.explicit.mem = decider == NA_BY_VARIABLE ? "SLURM_MEM_BIND" : "--mem-bind";
	else
		context.step.spec.mem = bind == NA_MEM_BIND_LOCAL ? NA_MEM_BIND : NA_MEM_PREFERRED;
	context.mem_by_variable = decider == NA_BY_VARIABLE;
}

static void read_bindings(spank_t spank, bool by_user)
{
	enum na_decider cpus, mem;

	na_enclosing_read(spank, &cpus, &mem);
	context.cpus_by_variable = cpus == NA_BY_VARIABLE;
	read_cpu_bind(spank, cpus, by_user);
	read_mem_bind(spank, mem);
}

static void find_step(spank_t spank)
{
	uint32_t job = 0, tasks = 1;

	if (spank_get_item(spank, S_JOB_ID, &job) != ESPANK_SUCCESS) {
		snprintf(context.failure, sizeof(context.failure), "asking Slurm for the job id failed");
		return;
	}
	if (spank_get_item(spank, S_JOB_LOCAL_TASK_COUNT, &tasks) != ESPANK_SUCCESS || tasks < 1)
		tasks = 1;
	if (spank_get_item(spank, S_STEP_ALLOC_MEM, &context.memory_limit_mb) != ESPANK_SUCCESS)
		context.memory_limit_mb = 0;
	context.step.task_count = tasks < NA_MAX_TASKS ? (int)tasks : NA_MAX_TASKS;
	context.machine = na_table_read(job, context.failure, sizeof(context.failure));
	context.step.machine = context.machine;
	if (context.machine)
		context.step.gpu_count = na_devices_of_step(spank, context.machine, context.step.gpus);
}

/* A site's "on" is meant for work on GPUs: a step without any stays exactly as Slurm placed it. */
static bool not_meant(void)
{
	return context.machine && context.step.gpu_count == 0 && !context.by_user &&
	       !context.step.spec.all_steps;
}

void na_stepd_begin(spank_t spank)
{
	const long start = cpu_microseconds();
	char warning[480];
	uint32_t step = 0;

	if (spank_get_item(spank, S_JOB_STEPID, &step) == ESPANK_SUCCESS && step == EXTERN_STEP)
		return;
	context.step.spec = na_option_resolve(spank, &context.by_user, warning, sizeof(warning));
	if (!context.step.spec.on) {
		/* An explicit "off", or one for this user, inside an aligned job: the script's variables do not apply. */
		if (na_option_given() || na_option_site_on())
			na_report_nothing(spank);
		return;
	}
	if (warning[0])
		slurm_spank_log("numa-align: %s", warning);
	context.active = true;
	context.dry = na_option_site_dry() && !context.by_user;
	read_bindings(spank, context.by_user);
	context.meeting = na_meeting_new();
	na_cpuset_remember(spank);
	find_step(spank);
	if (context.failure[0] && !context.step.spec.strict && !context.dry)
		slurm_spank_log(
			"numa-align: %s; tasks start as Slurm placed them (the administrator can run: "
			"numa-align doctor)",
			context.failure);
	if (not_meant()) {
		context.active = false;
		na_report_nothing(spank);
		return;
	}
	slurm_verbose("numa-align: step begun in %ld us", cpu_microseconds() - start);
}

static bool first_to_warn(void)
{
	return na_meeting_first_to_warn(context.meeting);
}

/* Tells the others what this task sees, and learns what they see if that differs. */
static void meet(spank_t spank, const struct na_task *task)
{
	struct na_sight sight = { .count = (uint16_t)task->visible_count };
	const bool differ = task->visible_count < context.step.gpu_count ||
			    context.step.spec.cpus == NA_CPUS_FAIR || na_devices_told_apart(spank);

	for (int i = 0; i < task->visible_count; i++)
		sight.gpu[i] = (uint8_t)task->visible[i];
	sight.cpus = (uint16_t)na_set_count(&task->mask);
	context.step.sights =
		na_meeting_meet(context.meeting, task->id, context.step.task_count, &sight, differ);
}

static void fail_with(struct na_placement *placement, const char *what, int error)
{
	placement->state = NA_UNALIGNED;
	snprintf(placement->reason, sizeof(placement->reason), "%s: %s", what, strerror(error));
}

/* Binds the CPUs, or restores the mask that was widened to find the step's CPUs. */
static void apply_cpus(const struct na_task *task, struct na_placement *placement)
{
	struct na_set got;
	int error = na_bind_set_cpus(placement->set_cpus ? &placement->cpus : &task->mask);

	if (!error)
		error = na_bind_get_cpus(&got);
	if (!error && placement->set_cpus && !na_set_equal(&got, &placement->cpus))
		error = EBUSY;
	if (!error)
		return;
	na_bind_set_cpus(&task->mask);
	placement->cpus = task->mask;
	fail_with(placement, "binding the CPUs failed", error);
}

/* A task that is bound to nodes is killed when they are full, so what they have left counts. */
static void warn_of_bind(const struct na_set *mems)
{
	struct na_node_memory memory;

	if (!context.memory_limit_mb || !na_node_memory_read(mems, &memory) ||
	    context.memory_limit_mb <= memory.free_mb + memory.clean_mb || !first_to_warn())
		return;
	slurm_spank_log(
		"numa-align: mem=bind: the step may use %llu MiB, the nodes near the GPUs have %llu MiB free "
		"and %llu MiB of page cache that can make room; a task that needs more will be killed "
		"(mem=preferred spills over)",
		(unsigned long long)context.memory_limit_mb, (unsigned long long)memory.free_mb,
		(unsigned long long)memory.clean_mb);
}

static void apply_memory(struct na_placement *placement)
{
	int error;

	if (!placement->set_memory)
		return;
	error = na_bind_set_memory(&placement->policy, &placement->mems);
	if (error) {
		placement->policy = NA_POLICY_DEFAULT;
		fail_with(placement, "setting the memory policy failed", error);
	}
	if (placement->policy == NA_POLICY_BIND)
		warn_of_bind(&placement->mems);
}

/* Determines what the task has and what it should get, and binds it. */
static void align(spank_t spank, int id, struct na_placement *placement)
{
	struct na_step *step = &context.step;
	struct na_task task = { .id = id };
	struct na_set nodes;
	int error = na_bind_get_cpus(&task.mask);

	task.cpus_explicit = context.explicit.cpus != NULL;
	task.mem_explicit = context.explicit.mem != NULL;
	task.cpus_by_variable = context.cpus_by_variable;
	task.mem_by_variable = context.mem_by_variable;
	placement->cpus = task.mask;
	if (error || (error = na_bind_allowed_mems(&step->mems)) != 0) {
		fail_with(placement, "asking the kernel for this task's CPUs and memory failed", error);
		return;
	}
	step->cpus = task.mask;
	if (!task.cpus_explicit && step->spec.cpus != NA_CPUS_ALL)
		na_cpuset_of_step(spank, &task.mask, &step->cpus);
	task.visible_count =
		na_devices_of_task(spank, step->machine, step->gpus, step->gpu_count, task.visible);
	step->nics = na_devices_nics(step->machine);
	if (task.visible_count == 0 && na_devices_not_named(spank))
		step->gpu_count = 0;
	if (not_meant()) {
		na_bind_set_cpus(&task.mask);
		return;
	}
	meet(spank, &task);
	if (!na_step_place(step, &task, placement)) {
		fail_with(placement, "claiming cores failed", ENOMEM);
		placement->cpus = task.mask;
		placement->set_cpus = placement->set_memory = false;
	}
	if (context.dry) {
		na_bind_set_cpus(&task.mask); /* it was widened to find the step's CPUs */
		if (!task.mem_explicit)
			return;
	} else {
		apply_cpus(&task, placement);
		apply_memory(placement);
	}
	placement->policy = na_bind_get_policy(&nodes);
	na_judge_memory(&task, placement, &nodes);
}

/* One line per step and node for a common cause, written by the first task that meets it. */
static void warn(const struct na_placement *placement, uint32_t global_id)
{
	const bool strict = context.step.spec.strict;

	if (placement->state == NA_ALIGNED || (!strict && (context.failure[0] || !first_to_warn())))
		return;
	slurm_spank_log("numa-align: task %u is %s: %s%s%s%s", global_id, na_state_name(placement->state),
			placement->reason, placement->advice[0] ? "; " : "", placement->advice,
			strict ? "; strict was asked for, so it does not start" : "");
}

/* What the task's nodes have, if that is less than the step may use: then cache has to be dropped. */
static void describe_memory(const struct na_set *mems, char *text, size_t size)
{
	struct na_node_memory memory;

	text[0] = '\0';
	if (!context.memory_limit_mb || !na_node_memory_read(mems, &memory) ||
	    memory.free_mb >= context.memory_limit_mb)
		return;
	snprintf(text, size, " free=%lluM cache=%lluM limit=%lluM", (unsigned long long)memory.free_mb,
		 (unsigned long long)memory.clean_mb, (unsigned long long)context.memory_limit_mb);
}

static void report(uint32_t global_id, const struct na_placement *placement, long microseconds)
{
	char memory[96];

	describe_memory(&placement->mems, memory, sizeof(memory));
	na_report_task((int)global_id, context.machine, placement, context.explicit, memory, microseconds);
	if (placement->policy != NA_POLICY_PREFERRED_MANY && placement->policy != NA_POLICY_DEFAULT &&
	    placement->set_memory && context.step.spec.mem == NA_MEM_PREFERRED)
		slurm_spank_log("numa-align: task %u: policy=%s because this kernel has no preferred-many "
				"(Linux 5.15)",
				global_id, na_policy_name(placement->policy));
}

/* "numa-align run torchrun" and "torchrun ... numa-align run" need no advice. */
static bool runs_numa_align(spank_t spank)
{
	char **words = NULL;
	int count = 0;

	if (spank_get_item(spank, S_JOB_ARGV, &count, &words) != ESPANK_SUCCESS)
		return true;
	for (int i = 0; i < count; i++)
		if (words[i] && strstr(words[i], "numa-align"))
			return true;
	return false;
}

/*
 * A single task with GPUs on several nodes is aligned, but that places none of the workers that it
 * starts. A batch script, or a shell that will start srun, gets no such line.
 */
static void advise_launcher(spank_t spank, const struct na_placement *placement)
{
	const struct na_gpu *gpus = context.machine ? context.machine->gpus : NULL;
	uint32_t step = BATCH_STEP;

	if (placement->state != NA_ALIGNED || context.step.task_count != 1 || placement->gpu_count < 2 ||
	    !context.by_user || spank_get_item(spank, S_JOB_STEPID, &step) != ESPANK_SUCCESS ||
	    step >= INTERACTIVE_STEP || runs_numa_align(spank))
		return;
	for (int i = 1; i < placement->gpu_count; i++)
		if (gpus[placement->gpus[i]].node != gpus[placement->gpus[0]].node) {
			slurm_spank_log(
				"numa-align: one task has GPUs on several NUMA nodes; if it starts workers "
				"(torchrun, accelerate), put \"numa-align run\" before the program that they "
				"run");
			return;
		}
}

void na_stepd_task(spank_t spank)
{
	const long start = cpu_microseconds();
	struct na_placement placement = { .state = NA_UNALIGNED };
	uint32_t global_id = 0;
	int id = 0;

	if (!context.active)
		return;
	spank_get_item(spank, S_TASK_ID, &id);
	spank_get_item(spank, S_TASK_GLOBAL_ID, &global_id);
	if (context.machine)
		align(spank, id, &placement);
	else
		snprintf(placement.reason, sizeof(placement.reason), "%.230s", context.failure);
	if (not_meant()) {
		na_report_nothing(spank);
		return;
	}
	if (context.dry) {
		na_report_rehearsed(spank, context.machine, &placement);
		return;
	}
	warn(&placement, global_id);
	/* Slurm ignores the status of an optional plugin's hook, so strict has to end the task itself. */
	if (context.step.spec.strict && placement.state != NA_ALIGNED)
		_exit(1);
	advise_launcher(spank, &placement);
	na_report_environment(spank, &context.step, &placement);
	if (context.machine && context.step.spec.tell)
		na_report_programs(spank, context.machine, &placement);
	if (context.machine && context.step.spec.nic)
		na_report_libraries(spank, (int)global_id, context.machine, &placement,
				    context.step.spec.verbose);
	if (context.step.spec.verbose)
		report(global_id, &placement, cpu_microseconds() - start);
}
