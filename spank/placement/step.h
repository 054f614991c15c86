/* A step on one node, one of its tasks, and what the task gets: the values used throughout this folder. */
#ifndef NUMA_ALIGN_STEP_H
#define NUMA_ALIGN_STEP_H

#include "machine.h"
#include "spec.h"

enum na_state { NA_ALIGNED, NA_PARTIAL, NA_MEMORY_ONLY, NA_UNALIGNED };

/* Memory policies: names and meaning of set_mempolicy(2). */
enum na_policy {
	NA_POLICY_DEFAULT,
	NA_POLICY_PREFERRED,
	NA_POLICY_BIND,
	NA_POLICY_INTERLEAVE,
	NA_POLICY_LOCAL,
	NA_POLICY_PREFERRED_MANY,
};

/* What one task of a step sees and was given, as shared with the other tasks of the node. */
struct na_sight {
	uint16_t count;
	uint8_t gpu[NA_MAX_GPUS]; /* the GPUs that it can use, positions in machine->gpus, in its order */
	uint16_t cpus; /* how many CPUs Slurm gave it */
};

struct na_step {
	const struct na_machine *machine;
	struct na_spec spec;
	struct na_set cpus; /* of the step, Linux numbers */
	struct na_set mems; /* Mems_allowed: nodes that the step may use */
	int task_count; /* of the step on this node */
	int gpu_count; /* of the step; gpus[] are positions in machine->gpus */
	int gpus[NA_MAX_GPUS];
	na_nics nics; /* the cards that the step may use */
	/* For each task, or NULL: then a task knows only what it sees itself. */
	const struct na_sight *sights;
};

/* What one task sees, and which of its bindings are explicit. */
struct na_task {
	int id; /* local id */
	int visible_count; /* the GPUs that it can use, in the order in which it counts them */
	int visible[NA_MAX_GPUS];
	struct na_set mask; /* the CPUs that Slurm gave it */
	bool cpus_explicit; /* --cpu-bind: leave the CPUs alone */
	bool mem_explicit; /* --mem-bind: leave the memory policy alone */
	bool cpus_by_variable, mem_by_variable; /* it is explicit through SLURM_CPU_BIND, SLURM_MEM_BIND */
};

struct na_placement {
	enum na_state state;
	int gpu_count;
	int gpus[NA_MAX_GPUS]; /* positions in machine->gpus */
	bool set_cpus; /* false: leave the mask; cpus is then the mask */
	struct na_set cpus;
	int given; /* how many CPUs Slurm gave it; in an undivided step, its even share */
	int own, beside; /* of its CPUs: on the nodes of its GPUs; local to them on other nodes */
	bool set_memory; /* false: leave the policy */
	enum na_policy policy;
	struct na_set mems; /* the nodes of the policy, or near the GPUs if none is set */
	na_nics nics; /* its own network cards, among those nearest to its GPUs */
	char reason[240]; /* why it is not aligned, "" if it is */
	char advice[480]; /* what to request instead, or to change on the machine; "" if nothing */
	char note[240]; /* that it has fewer CPUs than Slurm gave it, and why; else "" */
};

/* "" for any other number; Python has the same words in names.py. */
const char *na_state_name(enum na_state state);
const char *na_policy_name(enum na_policy policy);

/* Whether some of these CPUs are local to a GPU of the step. */
bool na_local_to_step(const struct na_step *step, const struct na_set *cpus);

#endif
