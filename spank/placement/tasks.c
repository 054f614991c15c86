#include "tasks.h"

#include <stdlib.h>

#include "nics.h"
#include "parts.h"

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

struct na_choice na_task_choice(const struct na_step *step, int id, int visible)
{
	struct na_choice choice = { .count = visible, .sharers = 1 };

	if (visible >= step->gpu_count)
		return na_choose_gpus(id, step->task_count, visible);
	/* Rounded down if a task sees several: a socket with more GPUs than the other is not crowded. */
	if (visible > 1 && (long)step->task_count * visible < 2L * step->gpu_count)
		return choice;
	choice.first = visible > 0 ? id % visible : 0;
	choice.count = visible > 0;
	return choice;
}

void na_usable_cpus(const struct na_step *step, struct na_set *cpus)
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

/* How many cores of a set are on each node; returns their number on all nodes together. */
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

static int gpu_position_in_step(const struct na_step *step, int gpu)
{
	for (int i = 0; i < step->gpu_count; i++)
		if (step->gpus[i] == gpu)
			return i;
	return -1;
}

void na_claimants_of_gpus(const struct na_machine *machine, const int *gpus, int count,
			  struct na_claimant *claimants)
{
	for (int i = 0; i < count; i++)
		claimants[i] = (struct na_claimant){ i, machine->gpus[gpus[i]].node, 1 };
}

void na_cpus_on_nodes(const struct na_step *step, const struct na_placement *placement, struct na_set *cpus)
{
	na_set_clear(cpus);
	for (int i = 0; i < placement->gpu_count; i++)
		na_own_cpus(step->machine, step->machine->gpus[placement->gpus[i]].node, cpus);
}

/* If a task knows only what it sees itself: the GPUs of the step claim, and it gets the shares of its own. */
static bool claim_by_gpus(const struct na_step *step, const struct na_placement *placement,
			  struct na_set *slice)
{
	struct na_claimant claimants[NA_MAX_GPUS];
	bool wanted[NA_MAX_GPUS] = { false };
	struct na_set cpus;
	const struct na_request request = {
		.cpus = &cpus, .claimants = claimants, .count = step->gpu_count, .owners = step->gpu_count
	};

	na_claimants_of_gpus(step->machine, step->gpus, step->gpu_count, claimants);
	for (int i = 0; i < placement->gpu_count; i++) {
		const int position = gpu_position_in_step(step, placement->gpus[i]);

		if (position >= 0)
			wanted[position] = true;
	}
	na_usable_cpus(step, &cpus);
	return na_claim_some(step->machine, &request, wanted, slice, NULL);
}

/* The GPUs of any task of the step: those that it sees, as far as that is known. */
static int seen_by(const struct na_step *step, const struct na_task *task, int id, int *gpus)
{
	const struct na_sight *sight = step->sights ? &step->sights[id] : NULL;
	/* All see the same, or what this task itself sees is as good as what the others know of it. */
	const bool own = !sight || id == task->id;
	const int count = own ? task->visible_count : sight->count;

	for (int i = 0; i < count; i++)
		gpus[i] = own ? task->visible[i] : sight->gpu[i];
	return count;
}

static bool tasks_are_known(const struct na_step *step, const struct na_task *task)
{
	return step->sights || task->visible_count >= step->gpu_count;
}

/* One task's claims: one record for each node of its GPUs. Returns how many. */
static int claims_of(const struct na_step *step, int id, const int *gpus, int count,
		     struct na_claimant *claimants)
{
	int nodes = 0;

	for (int i = 0; i < count; i++) {
		const int node = step->machine->gpus[gpus[i]].node;
		int n = 0;

		while (n < nodes && claimants[n].node != node)
			n++;
		if (n == nodes)
			claimants[nodes++] = (struct na_claimant){ id, node, 0 };
		claimants[n].weight++;
	}
	return nodes;
}

/* A task and the first GPU that it uses: users of neighbouring GPUs get neighbouring cores. */
struct arrival {
	int gpu, id;
};

static int compare_arrivals(const void *a, const void *b)
{
	const struct arrival *x = a, *y = b;

	return x->gpu != y->gpu ? (x->gpu > y->gpu) - (x->gpu < y->gpu) : x->id - y->id;
}

/* Those of its visible GPUs that a task uses. */
static int used_by(const struct na_step *step, const struct na_task *task, int id, int *gpus)
{
	int seen[NA_MAX_GPUS];
	const struct na_choice choice = na_task_choice(step, id, seen_by(step, task, id, seen));

	for (int i = 0; i < choice.count; i++)
		gpus[i] = seen[choice.first + i];
	return choice.count;
}

/* The tasks in the order of their GPUs. */
static void all_arrivals(const struct na_step *step, const struct na_task *task, struct arrival *arrivals)
{
	int gpus[NA_MAX_GPUS];

	for (int i = 0; i < step->task_count; i++) {
		const int used = used_by(step, task, i, gpus);

		arrivals[i] = (struct arrival){ used ? gpus[0] : NA_MAX_GPUS, i };
	}
	qsort(arrivals, (size_t)step->task_count, sizeof(*arrivals), compare_arrivals);
}

static int all_claims(const struct na_step *step, const struct na_task *task, struct arrival *arrivals,
		      struct na_claimant *claimants)
{
	int gpus[NA_MAX_GPUS], count = 0;

	all_arrivals(step, task, arrivals);
	for (int i = 0; i < step->task_count; i++) {
		const int used = used_by(step, task, arrivals[i].id, gpus);

		count += claims_of(step, arrivals[i].id, gpus, used, claimants + count);
	}
	return count;
}

/* Up to how many cores each task may be filled: those of the CPUs that Slurm gave it. */
static void find_fill(const struct na_step *step, const struct na_task *task, const struct na_set *usable,
		      int *fill)
{
	int per_node[NA_MAX_NODES] = { 0 };
	const int all = na_set_count(usable), cores = count_cores(step->machine, usable, per_node);

	for (int i = 0; i < step->task_count; i++) {
		const int given = na_given_cpus(step, task, i);

		fill[i] = all ? (int)(((long)given * cores + all - 1) / all) : 0;
	}
}

/* The tasks claim, each through the GPUs that it uses. */
static bool claim_by_tasks(const struct na_step *step, const struct na_task *task, struct na_set *cpus,
			   struct na_set *idle)
{
	const size_t tasks = (size_t)step->task_count;
	/* A task has at most one record for each of the GPUs that it uses, and for each node. */
	const int nodes = step->machine->node_count + 1; /* and one for GPUs whose node is unknown */
	const int gpus = step->gpu_count < nodes ? step->gpu_count : nodes;
	const size_t most = tasks * (size_t)(gpus ? gpus : 1);
	struct na_claimant *claimants = calloc(most, sizeof(*claimants));
	struct arrival *arrivals = calloc(tasks, sizeof(*arrivals));
	bool *wanted = calloc(tasks, sizeof(*wanted));
	int *fill = calloc(tasks, sizeof(*fill));
	struct na_set usable;
	struct na_request request = { .cpus = &usable, .claimants = claimants, .owners = step->task_count };
	bool done = claimants && arrivals && wanted && fill;

	if (done) {
		na_usable_cpus(step, &usable);
		request.count = all_claims(step, task, arrivals, claimants);
		if (step->spec.cpus == NA_CPUS_FAIR) {
			find_fill(step, task, &usable, fill);
			request.fill = fill;
		}
		wanted[task->id] = true;
		done = na_claim_some(step->machine, &request, wanted, cpus, NULL);
		/* Tasks that have what Slurm gave them need nothing of what is left. */
		if (done && na_set_count(cpus) < na_given_cpus(step, task, task->id))
			done = na_claim_some(step->machine, &request, wanted, cpus, idle);
	}
	free(claimants);
	free(arrivals);
	free(wanted);
	free(fill);
	return done;
}

int na_given_cpus(const struct na_step *step, const struct na_task *task, int id)
{
	const bool own = !step->sights || id == task->id;
	const int given = own ? na_set_count(&task->mask) : step->sights[id].cpus;
	const int all = na_set_count(&step->cpus);

	/* A mask of the whole step is not a task's part of it: --cpu-bind=none. */
	return given >= all ? all / step->task_count : given;
}

bool na_cpus_of_gpus(const struct na_step *step, const struct na_task *task,
		     const struct na_placement *placement, struct na_set *cpus, struct na_set *idle)
{
	struct na_set usable;

	na_set_clear(cpus);
	na_set_clear(idle);
	if (step->spec.cpus != NA_CPUS_NODE)
		return tasks_are_known(step, task) ? claim_by_tasks(step, task, cpus, idle)
						   : claim_by_gpus(step, placement, cpus);
	na_cpus_on_nodes(step, placement, cpus);
	na_usable_cpus(step, &usable);
	na_set_and(cpus, &usable);
	return true;
}

/*
 * The tasks of a step without GPUs are spread over its nodes, as many on each as it has cores for.
 * With more nodes than tasks, each task has several neighbouring nodes.
 */
/*
 * Gives each task of a step without GPUs a home: the node of the core in the middle of its even part. False
 * if that leaves a node without a task, whose cores would be unused.
 */
static bool find_homes(const int *per_node, int nodes, int cores, int tasks, struct na_claimant *claimants)
{
	int homes = 0;

	for (int i = 0, node = 0, before = 0; i < tasks; i++) {
		/* With an even number of cores, the lower of the two in the middle. */
		const int core = (int)(((2L * i + 1) * cores - 1) / (2L * tasks));

		while (core >= before + per_node[node])
			before += per_node[node++];
		homes += i == 0 || claimants[i - 1].node != node;
		claimants[i] = (struct na_claimant){ i, node, 1 };
	}
	return homes == nodes;
}

bool na_cpus_without_gpus(const struct na_step *step, const struct na_task *task, struct na_set *cpus)
{
	const int tasks = step->task_count;
	struct na_claimant claimants[NA_MAX_TASKS];
	bool wanted[NA_MAX_TASKS] = { false };
	int per_node[NA_MAX_NODES] = { 0 }, cores, nodes = 0;
	struct na_set usable;
	const struct na_request request = {
		.cpus = &usable, .claimants = claimants, .count = tasks, .owners = tasks
	};

	na_usable_cpus(step, &usable);
	cores = count_cores(step->machine, &usable, per_node);
	for (int n = 0; n < step->machine->node_count; n++)
		nodes += per_node[n] > 0;
	if (tasks < nodes || cores == 0 || !find_homes(per_node, nodes, cores, tasks, claimants))
		return na_claim_part(step->machine, &usable, task->id, tasks, cpus);
	wanted[task->id] = true;
	return na_claim_some(step->machine, &request, wanted, cpus, NULL);
}

/* The nearest cards of a step's GPUs; `near` is by positions in machine->gpus. */
struct near_nics {
	na_nics near[NA_MAX_GPUS];
};

/* One user's claims to cards: one record for each set of cards that is nearest to some of its GPUs. */
static int nic_claims_of(const struct near_nics *all, int id, const int *gpus, int count,
			 struct na_nic_user *users)
{
	int sets = 0;

	for (int i = 0; i < count; i++) {
		const na_nics near = all->near[gpus[i]];
		int s = 0;

		while (s < sets && users[s].near != near)
			s++;
		if (s == sets)
			users[sets++] = (struct na_nic_user){ .owner = id, .near = near };
		users[s].weight++;
	}
	return sets;
}

/* The users of cards are the tasks if it is known what each uses, else the step's GPUs. */
static int all_nic_claims(const struct na_step *step, const struct na_task *task,
			  const struct near_nics *near, struct arrival *arrivals, struct na_nic_user *users)
{
	int gpus[NA_MAX_GPUS], count = 0;

	if (!tasks_are_known(step, task)) {
		for (int i = 0; i < step->gpu_count; i++)
			count += nic_claims_of(near, i, &step->gpus[i], 1, users + count);
		return count;
	}
	all_arrivals(step, task, arrivals);
	for (int i = 0; i < step->task_count; i++) {
		const int used = used_by(step, task, arrivals[i].id, gpus);

		count += nic_claims_of(near, arrivals[i].id, gpus, used, users + count);
	}
	return count;
}

/* What was dealt to a task, or to its GPUs. */
static na_nics own_nics(const struct na_step *step, const struct na_task *task,
			const struct na_placement *placement, const na_nics *dealt)
{
	na_nics own = 0;

	if (tasks_are_known(step, task))
		return dealt[task->id];
	for (int i = 0; i < placement->gpu_count; i++) {
		const int position = gpu_position_in_step(step, placement->gpus[i]);

		own |= position >= 0 ? dealt[position] : 0;
	}
	return own;
}

bool na_nics_of_task(const struct na_step *step, const struct na_task *task,
		     const struct na_placement *placement, na_nics *nics)
{
	const na_nics usable = na_nics_of_one_fabric(step->machine, step->nics);
	const int owners = step->task_count > step->gpu_count ? step->task_count : step->gpu_count;
	const size_t most = (size_t)step->task_count * (size_t)(step->gpu_count ? step->gpu_count : 1);
	struct near_nics near = { 0 };
	struct na_nic_user *users;
	struct arrival *arrivals;
	na_nics *dealt;
	bool done;

	*nics = 0;
	if (!usable)
		return true;
	for (int i = 0; i < step->machine->gpu_count; i++)
		near.near[i] = na_nearest_nics(step->machine, i, usable);
	users = calloc(most, sizeof(*users));
	arrivals = calloc((size_t)step->task_count, sizeof(*arrivals));
	dealt = calloc((size_t)owners, sizeof(*dealt));
	done = users && arrivals && dealt &&
	       na_deal_nics(users, all_nic_claims(step, task, &near, arrivals, users), owners, dealt);
	if (done)
		*nics = own_nics(step, task, placement, dealt);
	free(users);
	free(arrivals);
	free(dealt);
	return done;
}
