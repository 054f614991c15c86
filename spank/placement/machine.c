#include "machine.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* What the kernel assumes for two nodes without a SLIT (REMOTE_DISTANCE, linux/topology.h). */
#define REMOTE_DISTANCE 20

int na_node_position(const struct na_machine *machine, int id)
{
	for (int i = 0; i < machine->node_count; i++)
		if (machine->nodes[i].id == id)
			return i;
	return -1;
}

static bool same_package(const struct na_machine *machine, int a, int b)
{
	const int words = (machine->package_count + 63) / 64;

	for (int i = 0; i < words; i++)
		if (machine->nodes[a].packages[i] & machine->nodes[b].packages[i])
			return true;
	return false;
}

bool na_same_place(const struct na_machine *machine, int home, int node)
{
	if (home == node)
		return true;
	if (!same_package(machine, home, node))
		return false;
	/* A node with memory only is placed where its nearest CPUs are, however slow it is. */
	if (!machine->nodes[home].has_cpus || !machine->nodes[node].has_cpus)
		return true;
	return na_distance(machine, home, node) < REMOTE_DISTANCE;
}

int na_rank(const struct na_machine *machine, int home, int node)
{
	if (node < 0)
		return NA_RANKS - 1;
	if (home == node)
		return 0;
	return (na_same_place(machine, home, node) ? 1 : NA_RANK_OTHER_PLACE) +
	       na_distance(machine, home, node);
}

/* The distance from a node to the nearest one with CPUs; more than any distance if none has. */
static int nearest_cpus(const struct na_machine *machine, int node)
{
	int nearest = INT_MAX;

	for (int i = 0; i < machine->node_count; i++)
		if (machine->nodes[i].has_cpus && na_distance(machine, node, i) < nearest)
			nearest = na_distance(machine, node, i);
	return nearest;
}

void na_own_cpus(const struct na_machine *machine, int node, struct na_set *cpus)
{
	int nearest;

	if (node < 0)
		return;
	if (machine->nodes[node].has_cpus) {
		na_set_or(cpus, &machine->nodes[node].cpus);
		return;
	}
	nearest = nearest_cpus(machine, node);
	for (int i = 0; i < machine->node_count; i++)
		if (machine->nodes[i].has_cpus && na_distance(machine, node, i) == nearest)
			na_set_or(cpus, &machine->nodes[i].cpus);
}

void na_local_cpus(const struct na_machine *machine, int node, struct na_set *cpus)
{
	na_own_cpus(machine, node, cpus);
	if (node < 0 || !machine->nodes[node].has_cpus)
		return;
	for (int i = 0; i < machine->node_count; i++)
		if (!machine->nodes[i].has_gpu && na_same_place(machine, node, i))
			na_set_or(cpus, &machine->nodes[i].cpus);
}

static int compare_cores(const void *a, const void *b)
{
	const struct na_core *x = a, *y = b;

	if (x->node != y->node)
		return x->node < y->node ? -1 : 1;
	if (x->llc != y->llc)
		return x->llc < y->llc ? -1 : 1;
	return x->cpu[0] < y->cpu[0] ? -1 : x->cpu[0] > y->cpu[0];
}

static int compare_gpus(const void *a, const void *b)
{
	const struct na_gpu *x = a, *y = b;
	const size_t length_x = strlen(x->bdf), length_y = strlen(y->bdf);

	/* PCI domains have four digits or more: the shorter address is the smaller number. */
	if (length_x != length_y)
		return length_x < length_y ? -1 : 1;
	if (strcmp(x->bdf, y->bdf) != 0)
		return strcmp(x->bdf, y->bdf);
	/* Not an address: any order will do that does not depend on the order of lines. */
	if (x->minor != y->minor)
		return x->minor < y->minor ? -1 : 1;
	return strcmp(x->uuid, y->uuid);
}

static int compare_packages(const void *a, const void *b)
{
	const struct na_core *x = *(struct na_core *const *)a, *y = *(struct na_core *const *)b;

	return x->package < y->package ? -1 : x->package > y->package;
}

/* Package ids are arbitrary numbers; in the nodes' bit sets they are counted from 0 in ascending order. */
static void find_packages(struct na_machine *machine, struct na_core **cores)
{
	int ordinal = 0;

	for (int i = 0; i < machine->core_count; i++)
		cores[i] = &machine->cores[i];
	qsort(cores, (size_t)machine->core_count, sizeof(struct na_core *), compare_packages);
	for (int i = 0; i < machine->core_count; i++) {
		if (i > 0 && cores[i]->package != cores[i - 1]->package && ordinal < NA_MAX_PACKAGES - 1)
			ordinal++;
		/* Two nodes whose packages are unknown may not share one. */
		if (cores[i]->node >= 0 && cores[i]->package >= 0)
			machine->nodes[cores[i]->node].packages[ordinal / 64] |= UINT64_C(1)
										 << (ordinal % 64);
	}
	machine->package_count = ordinal + 1;
}

/* A node's CPUs are those of its cores: a single source, whatever the node's own list says. */
static void find_cpus(struct na_machine *machine)
{
	for (int i = 0; i < machine->node_count; i++)
		na_set_clear(&machine->nodes[i].cpus);
	for (int i = 0; i < machine->core_count; i++) {
		const struct na_core *core = &machine->cores[i];

		if (core->node < 0)
			continue;
		machine->nodes[core->node].has_cpus = true;
		for (int t = 0; t < core->threads; t++)
			na_set_add(&machine->nodes[core->node].cpus, core->cpu[t]);
	}
}

static void lend_packages(struct na_machine *machine, int node)
{
	const int nearest = nearest_cpus(machine, node);

	for (int i = 0; i < machine->node_count; i++)
		if (machine->nodes[i].has_cpus && na_distance(machine, node, i) == nearest)
			for (int w = 0; w < NA_MAX_PACKAGES / 64; w++)
				machine->nodes[node].packages[w] |= machine->nodes[i].packages[w];
}

bool na_machine_finish(struct na_machine *machine)
{
	struct na_core **cores = calloc((size_t)machine->core_count, sizeof(struct na_core *));

	if (!cores)
		return false;
	qsort(machine->cores, (size_t)machine->core_count, sizeof(*machine->cores), compare_cores);
	qsort(machine->gpus, (size_t)machine->gpu_count, sizeof(*machine->gpus), compare_gpus);
	find_cpus(machine);
	find_packages(machine, cores);
	for (int i = 0; i < machine->gpu_count; i++)
		if (machine->gpus[i].node >= 0)
			machine->nodes[machine->gpus[i].node].has_gpu = true;
	for (int i = 0; i < machine->node_count; i++)
		if (!machine->nodes[i].has_cpus)
			lend_packages(machine, i);
	free(cores);
	return true;
}

void na_machine_free(struct na_machine *machine)
{
	if (!machine)
		return;
	free(machine->nodes);
	free(machine->distance);
	free(machine->cores);
	free(machine->gpus);
	free(machine->nics);
	free(machine);
}
