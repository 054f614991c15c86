/*
 * libFuzzer: random machines, steps on them, and all tasks of a step; every byte is a choice.
 *
 * The table's fuzzer comes to few machines, since most of what it makes is no table. Here each input is
 * one, and what is promised of the tasks together can be checked as well.
 */
#include "promises.h"

#define MOST_NODES 12
#define MOST_CORES 96
#define MOST_GPUS 12
#define MOST_TASKS 24
#define EVEN_MORE_TASKS 600

enum { SEE_ALL, SEE_EACH, SEE_NEAR, SEE_ANY, WAYS_TO_SEE };

static int below(struct bytes *bytes, int limit)
{
	return take(bytes) % limit;
}

/* -- A machine --------------------------------------------------------------------------------- */

static void *memory(size_t count, size_t size)
{
	void *got = calloc(count ? count : 1, size);

	check(got != NULL, "memory enough");
	return got;
}

/* Nodes of packages, in order or not, their numbers with gaps or without. */
static void make_nodes(struct na_machine *machine, struct bytes *bytes, int *package)
{
	const int per_package = 1 + below(bytes, 4), packages = 1 + below(bytes, 4), gaps = take(bytes) > 200;

	machine->node_count = per_package * packages < MOST_NODES ? per_package * packages : MOST_NODES;
	for (int i = 0, id = 0; i < machine->node_count; i++, id += 1 + (gaps ? below(bytes, 9) : 0)) {
		machine->nodes[i].id = id;
		package[i] = take(bytes) < 230 ? i / per_package : below(bytes, 5) - 1;
	}
}

static void make_distances(struct na_machine *machine, struct bytes *bytes, const int *package)
{
	const int count = machine->node_count, kind = below(bytes, 4);
	uint8_t *distance = machine->distance;

	for (int a = 0; a < count; a++)
		for (int b = 0; b < count; b++)
			if (kind == 3) /* makes no sense */
				distance[a * count + b] = (uint8_t)take(bytes);
			else if (kind == 2) /* ties, and symmetric */
				distance[a * count + b] = b < a	   ? distance[b * count + a]
							  : a == b ? 10
								   : (uint8_t)(11 + below(bytes, 3));
			else
				distance[a * count + b] = a == b ? 10 : package[a] == package[b] ? 12 : 32;
}

/* Cores of a node share last-level caches; the hardware threads are numbered together or apart. */
static void make_cores(struct na_machine *machine, struct bytes *bytes, const int *package)
{
	const int smt = 1 + below(bytes, 4), even = below(bytes, 2) ? 1 + below(bytes, 8) : 0;
	const bool apart = take(bytes) & 1;
	int next = 0;

	for (int node = 0; node < machine->node_count; node++) {
		const int cores = even ? even : below(bytes, 9), caches = 1 + below(bytes, 4);
		int llc = 0;

		for (int i = 0; i < cores && machine->core_count < MOST_CORES; i++) {
			struct na_core *core = &machine->cores[machine->core_count];

			core->threads = take(bytes) < 240 ? smt : 1 + below(bytes, smt);
			for (int t = 0; t < core->threads; t++)
				core->cpu[t] =
					(uint16_t)(apart ? t * MOST_CORES + machine->core_count : next++);
			if (i % caches == 0)
				llc = core->cpu[0];
			core->llc = llc;
			core->node = take(bytes) < 250 ? node : -1;
			core->package = package[node];
			machine->core_count++;
		}
	}
	if (machine->core_count == 0)
		machine->cores[machine->core_count++] = (struct na_core){ .node = 0, .threads = 1 };
}

static void make_gpus(struct na_machine *machine, struct bytes *bytes)
{
	machine->gpu_count = below(bytes, MOST_GPUS + 1);
	for (int i = 0; i < machine->gpu_count; i++) {
		struct na_gpu *gpu = &machine->gpus[i];

		snprintf(gpu->bdf, sizeof(gpu->bdf), "0000:%02x:00.0", i + 1);
		snprintf(gpu->vendor, sizeof(gpu->vendor), "nvidia");
		gpu->minor = gpu->index = i;
		gpu->in_job = -1;
		gpu->node = take(bytes) < 245 ? below(bytes, machine->node_count) : -1;
	}
}

/* What a node is follows from whether it has cores, as the kernel's lists have it. */
static void choose_kinds(struct na_machine *machine, struct bytes *bytes)
{
	for (int i = 0; i < machine->node_count; i++) {
		struct na_node *node = &machine->nodes[i];
		const int choice = take(bytes);

		if (node->has_cpus)
			node->kind = choice < 230 ? NA_NODE_CPU : NA_NODE_CPU_ONLY;
		else
			node->kind = choice & 1 ? NA_NODE_MEMORY : NA_NODE_GPU_MEMORY;
		node->memory_bytes = node->kind == NA_NODE_CPU_ONLY ? 0 : UINT64_C(1) << 30;
	}
}

static struct na_machine *make_machine(struct bytes *bytes)
{
	struct na_machine *machine = memory(1, sizeof(*machine));
	int package[MOST_NODES];

	machine->nodes = memory(MOST_NODES, sizeof(*machine->nodes));
	machine->distance = memory(MOST_NODES * MOST_NODES, 1);
	machine->cores = memory(MOST_CORES, sizeof(*machine->cores));
	machine->gpus = memory(MOST_GPUS, sizeof(*machine->gpus));
	make_nodes(machine, bytes, package);
	make_distances(machine, bytes, package);
	make_cores(machine, bytes, package);
	make_gpus(machine, bytes);
	for (int i = 0; i < machine->core_count; i++)
		for (int t = 0; t < machine->cores[i].threads; t++)
			na_set_add(&machine->cpus, machine->cores[i].cpu[t]);
	check(na_machine_finish(machine), "memory enough");
	choose_kinds(machine, bytes);
	return machine;
}

/* -- A step and its tasks ---------------------------------------------------------------------- */

static void make_step(struct na_step *step, struct bytes *bytes)
{
	const struct na_machine *machine = step->machine;
	const int options = take(bytes), most = take(bytes) < 254 ? MOST_TASKS : EVEN_MORE_TASKS;
	struct na_set all;

	na_set_fill(&all);
	step->spec = na_spec_built_in;
	step->spec.on = true;
	step->spec.smt = options & 1;
	step->spec.mem = (enum na_mem)(options / 2 % 5);
	step->spec.cpus = (enum na_cpus)(options / 10 % 4);
	step->task_count = 1 + (take(bytes) * 256 + take(bytes)) % most;
	choose_set(bytes, &machine->cpus, &step->cpus);
	if (take(bytes) > 250) /* what a table does not know, as after a CPU came online */
		na_set_add(&step->cpus, NA_SET_BITS - 1 - take(bytes));
	choose_set(bytes, &all, &step->mems);
	for (int i = 0; i < machine->gpu_count; i++)
		if (take(bytes) < 220)
			step->gpus[step->gpu_count++] = i;
}

static bool is_near(const struct na_step *step, int gpu, const struct na_set *mask)
{
	struct na_set local;

	na_set_clear(&local);
	na_local_cpus(step->machine, step->machine->gpus[gpu].node, &local);
	return na_set_meets(&local, mask);
}

static void look(const struct na_step *step, struct na_task *task, int way, struct bytes *bytes)
{
	const int gpus = step->gpu_count, tasks = step->task_count;
	const int first = tasks < gpus ? task->id * gpus / tasks : task->id * gpus / tasks;
	const int last = tasks < gpus ? (task->id + 1) * gpus / tasks : first + 1;

	for (int i = 0; i < gpus; i++)
		if (way == SEE_ALL || (way == SEE_EACH && i >= first && i < last) ||
		    (way == SEE_NEAR && is_near(step, step->gpus[i], &task->mask)) ||
		    (way == SEE_ANY && take(bytes) & 1))
			task->visible[task->visible_count++] = step->gpus[i];
}

/* As the plugin's tasks tell one another. */
static struct na_sight sight_of(const struct na_task *task)
{
	struct na_sight sight = { .count = (uint16_t)task->visible_count };

	for (int i = 0; i < task->visible_count; i++)
		sight.gpu[i] = (uint8_t)task->visible[i];
	sight.cpus = (uint16_t)na_set_count(&task->mask);
	return sight;
}

/* -- What is promised -------------------------------------------------------------------------- */

static void near_of(const struct na_step *step, const struct na_placement *placement, struct na_set *local,
		    int *unknown)
{
	na_set_clear(local);
	*unknown = 0;
	for (int i = 0; i < placement->gpu_count; i++) {
		const int node = step->machine->gpus[placement->gpus[i]].node;

		*unknown += node < 0;
		na_local_cpus(step->machine, node, local);
	}
}

/* The state is what the CPUs and the policy say, not what was wanted. */
static void check_state(const struct na_step *step, const struct na_placement *placement)
{
	struct na_set local;
	int unknown;
	bool near, all_near;

	near_of(step, placement, &local, &unknown);
	near = na_set_meets(&placement->cpus, &local);
	all_near = near && na_set_subset(&placement->cpus, &local) && unknown == 0;
	switch (placement->state) {
	case NA_ALIGNED:
		check(all_near, "aligned: all of its CPUs are near its GPUs");
		break;
	case NA_PARTIAL:
		check(near && !all_near, "partial: some of its CPUs are near its GPUs");
		break;
	case NA_MEMORY_ONLY:
		check(!near && placement->set_memory && placement->policy != NA_POLICY_LOCAL,
		      "memory-only: no CPU is near and a policy keeps the memory there");
		break;
	default:
		check(!near || unknown == placement->gpu_count,
		      "unaligned: no CPU is near, or nothing tells where");
	}
}

static void check_smt(const struct na_step *step, const struct na_placement *placement)
{
	if (step->spec.smt || !placement->set_cpus)
		return;
	for (int i = 0; i < step->machine->core_count; i++) {
		const struct na_core *core = &step->machine->cores[i];
		int threads = 0;

		for (int t = 0; t < core->threads; t++)
			threads += na_set_has(&placement->cpus, core->cpu[t]);
		check(threads <= 1, "smt=off: one thread of a core");
	}
}

static int cores_of(const struct na_step *step)
{
	int cores = 0;

	for (int i = 0; i < step->machine->core_count; i++) {
		const struct na_core *core = &step->machine->cores[i];
		bool mine = false;

		for (int t = 0; t < core->threads; t++)
			mine |= na_set_has(&step->cpus, core->cpu[t]);
		cores += mine;
	}
	return cores;
}

/* While there are as many cores as tasks, no two of those that are placed have a CPU in common. */
static void check_apart(const struct na_step *step, const struct na_placement *placements)
{
	for (int i = 0; i < step->task_count; i++)
		for (int j = 0; j < i; j++) {
			const struct na_placement *one = &placements[i], *other = &placements[j];

			check(!one->set_cpus || !other->set_cpus || !na_set_meets(&one->cpus, &other->cpus),
			      "tasks have no CPU in common while there are cores for all");
		}
}

static bool promises_apart(const struct na_step *step, bool explicit)
{
	const int cores = cores_of(step);

	for (int i = 0; i < step->gpu_count; i++)
		if (step->machine->gpus[step->gpus[i]].node < 0)
			return false;
	return step->sights && !explicit && step->spec.cpus == NA_CPUS_SLICE && step->task_count <= cores &&
	       step->task_count <= MOST_TASKS;
}

/* What the kernel may answer after all, which need not be what was asked for. */
static void check_memory_said(const struct na_task *task, const struct na_placement *placement,
			      struct bytes *bytes)
{
	struct na_placement judged = *placement;
	struct na_set all, nodes;

	na_set_fill(&all);
	choose_set(bytes, &all, &nodes);
	na_judge_memory(task, &judged, &nodes);
	check_text(judged.reason, sizeof(judged.reason));
	check_text(judged.advice, sizeof(judged.advice));
	check(judged.state != NA_ALIGNED || !judged.reason[0], "no reason where it is aligned");
	check(judged.state >= placement->state, "memory elsewhere makes nothing better");
}

static void check_slices(const struct na_step *step, const struct na_placement *placement)
{
	struct na_set *slices = memory((size_t)placement->gpu_count + 1, sizeof(*slices));

	check(na_placement_slices(step, placement, slices), "memory enough");
	for (int i = 0; i < placement->gpu_count; i++) {
		struct na_set mems;

		na_set_clear(&mems);
		na_gpu_memory(step, placement->gpus[i], &mems);
		check(na_set_subset(&slices[i], &placement->cpus) && na_set_subset(&mems, &step->mems),
		      "a slice within the task");
	}
	free(slices);
}

/* Programs that all see all GPUs use them by their number: none is left out while there are tasks enough. */
static void check_all_used(const struct na_step *step, const struct na_placement *placements)
{
	for (int i = 0; i < step->gpu_count; i++) {
		bool used = false;

		for (int id = 0; id < step->task_count; id++)
			for (int j = 0; j < placements[id].gpu_count; j++)
				used |= placements[id].gpus[j] == step->gpus[i];
		check(used, "a GPU for nobody while there are tasks enough");
	}
}

static void place_all(struct na_step *step, struct bytes *bytes)
{
	struct na_placement *placements = memory((size_t)step->task_count, sizeof(*placements));
	struct na_task *tasks = memory((size_t)step->task_count, sizeof(*tasks));
	struct na_sight *sights = memory((size_t)step->task_count, sizeof(*sights));
	const int way = below(bytes, WAYS_TO_SEE);
	const bool cpus_explicit = take(bytes) > 240, mem_explicit = take(bytes) > 240;

	for (int id = 0; id < step->task_count; id++) {
		tasks[id] = (struct na_task){ .id = id,
					      .cpus_explicit = cpus_explicit,
					      .mem_explicit = mem_explicit,
					      .cpus_by_variable = id & 1,
					      .mem_by_variable = id & 2 };
		choose_set(bytes, &step->cpus, &tasks[id].mask);
		look(step, &tasks[id], way, bytes);
		sights[id] = sight_of(&tasks[id]);
	}
	/* One that has not come in time leaves all without the others' word. */
	step->sights = take(bytes) > 20 ? sights : NULL;
	for (int id = 0; id < step->task_count; id++) {
		struct na_placement again;

		check(na_step_place(step, &tasks[id], &placements[id]), "memory enough");
		check_placement(step, &tasks[id], &placements[id]);
		if (tasks[id].visible_count > 0)
			check_state(step, &placements[id]);
		check_smt(step, &placements[id]);
		check_slices(step, &placements[id]);
		if (id == 0) {
			check(na_step_place(step, &tasks[id], &again) &&
				      memcmp(&again, &placements[id], sizeof(again)) == 0,
			      "the same answer for the same question");
			check_memory_said(&tasks[id], &placements[id], bytes);
		}
	}
	if (promises_apart(step, cpus_explicit))
		check_apart(step, placements);
	if (way == SEE_ALL && step->task_count <= NA_MAX_TASKS)
		check_all_used(step, placements);
	free(placements);
	free(tasks);
	free(sights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes bytes = { data, data + size, 1 };
	struct na_step step = { 0 };
	struct na_machine *machine;

	/* What a short input leaves open follows from it (FNV-1a): every input is a whole case. */
	bytes.noise = 2166136261U;
	for (size_t i = 0; i < size; i++)
		bytes.noise = (bytes.noise ^ data[i]) * 16777619U;
	bytes.noise |= !bytes.noise;
	step.machine = machine = make_machine(&bytes);

	make_step(&step, &bytes);
	place_all(&step, &bytes);
	na_machine_free(machine);
	return 0;
}
