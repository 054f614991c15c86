#include "machine.h"

#include <stdlib.h>
#include <string.h>

int na_node_position(const struct na_machine *machine, int id)
{
	for (int i = 0; i < machine->node_count; i++)
		if (machine->nodes[i].id == id)
			return i;
	return -1;
}

bool na_same_package(const struct na_machine *machine, int a, int b)
{
	for (int i = 0; i < NA_MAX_PACKAGES / 64; i++)
		if (machine->nodes[a].packages[i] & machine->nodes[b].packages[i])
			return true;
	return false;
}

static int compare_cores(const void *a, const void *b)
{
	const struct na_core *x = a, *y = b;

	return x->cpu[0] < y->cpu[0] ? -1 : x->cpu[0] > y->cpu[0];
}

static int compare_gpus(const void *a, const void *b)
{
	const struct na_gpu *x = a, *y = b;
	const size_t length_x = strlen(x->bdf), length_y = strlen(y->bdf);

	/* PCI domains have four digits or more: the shorter address is the smaller number. */
	if (length_x != length_y)
		return length_x < length_y ? -1 : 1;
	return strcmp(x->bdf, y->bdf);
}

static int compare_packages(const void *a, const void *b)
{
	const struct na_core *x = *(struct na_core *const *)a, *y = *(struct na_core *const *)b;

	return x->package < y->package ? -1 : x->package > y->package;
}

/* Package ids are any numbers; in the nodes' bit sets they are counted from 0 in ascending order. */
static void find_packages(struct na_machine *machine, struct na_core **cores)
{
	int ordinal = 0;

	for (int i = 0; i < machine->core_count; i++)
		cores[i] = &machine->cores[i];
	qsort(cores, (size_t)machine->core_count, sizeof(struct na_core *), compare_packages);
	for (int i = 0; i < machine->core_count; i++) {
		if (i > 0 && cores[i]->package != cores[i - 1]->package && ordinal < NA_MAX_PACKAGES - 1)
			ordinal++;
		if (cores[i]->node >= 0)
			machine->nodes[cores[i]->node].packages[ordinal / 64] |= UINT64_C(1) << (ordinal % 64);
	}
}

bool na_machine_finish(struct na_machine *machine)
{
	struct na_core **cores = calloc((size_t)machine->core_count, sizeof(struct na_core *));

	if (!cores)
		return false;
	qsort(machine->cores, (size_t)machine->core_count, sizeof(*machine->cores), compare_cores);
	qsort(machine->gpus, (size_t)machine->gpu_count, sizeof(*machine->gpus), compare_gpus);
	find_packages(machine, cores);
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
	free(machine);
}
