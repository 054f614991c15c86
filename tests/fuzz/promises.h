/* What fuzzers share: choices made by bytes, and what is promised of every placement. */
#ifndef NUMA_ALIGN_FUZZ_PROMISES_H
#define NUMA_ALIGN_FUZZ_PROMISES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "placement/explain.h"
#include "placement/place.h"

/* Bytes that are read one after the other; after the last, zeros, or noise where that is not 0. */
struct bytes {
	const uint8_t *at, *end;
	uint32_t noise;
};

static inline int take(struct bytes *bytes)
{
	if (bytes->at < bytes->end)
		return *bytes->at++;
	bytes->noise ^= bytes->noise << 13;
	bytes->noise ^= bytes->noise >> 17;
	bytes->noise ^= bytes->noise << 5;
	return (int)(bytes->noise & 255);
}

/* All of a set, every other of it and so on, or any. */
static inline void choose_set(struct bytes *bytes, const struct na_set *from, struct na_set *set)
{
	const int how = take(bytes);

	na_set_clear(set);
	for (int bit = na_set_next(from, 0), i = 0; bit >= 0; bit = na_set_next(from, bit + 1), i++)
		if (how < 64 || (how < 192 ? i % (how / 64 + 1) == 0 : take(bytes) & 1))
			na_set_add(set, bit);
}

static inline void check(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "does not hold: %s\n", what);
	abort();
}

static inline void check_text(const char *text, size_t size)
{
	check(memchr(text, '\0', size) != NULL, "a text that ends");
	for (; *text; text++)
		check(*text >= ' ' && *text <= '~', "a text that can be printed");
}

static inline void check_placement(const struct na_step *step, const struct na_task *task,
				   const struct na_placement *placement)
{
	const struct na_machine *machine = step->machine;

	check(!placement->set_cpus || na_set_subset(&placement->cpus, &step->cpus), "CPUs within the step");
	check(placement->set_cpus || na_set_equal(&placement->cpus, &task->mask),
	      "a mask that is left is the mask");
	check(!placement->set_cpus || !na_set_empty(&placement->cpus), "CPUs that are set are some");
	check(!placement->set_cpus || !task->cpus_explicit, "CPUs that are explicitly bound stay");
	check(!placement->set_memory || !task->mem_explicit, "memory that is explicitly bound stays");
	check((placement->state == NA_ALIGNED) == !placement->reason[0], "a reason unless aligned");
	check(placement->state == NA_ALIGNED || placement->advice[0], "advice unless aligned");
	check(placement->set_memory == (placement->policy != NA_POLICY_DEFAULT), "a policy where one is set");
	check_text(placement->reason, sizeof(placement->reason));
	check_text(placement->advice, sizeof(placement->advice));
	for (int i = 0; i < machine->node_count; i++)
		if (na_set_has(&placement->mems, machine->nodes[i].id))
			check((machine->nodes[i].kind == NA_NODE_CPU ||
			       machine->nodes[i].kind == NA_NODE_MEMORY) &&
				      na_set_has(&step->mems, machine->nodes[i].id),
			      "memory where the step may have memory");
}

#endif
