/*
 * What the claim costs: claim NODES CORES SMT GPUS TASKS prints microseconds, the best of many.
 * tests/bench/claim.py compiles and runs it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "placement/claim.h"
#include "placement/place.h"
#include "placement/table.h"

#define TEXT_MAX (4 << 20)
#define ROUNDS 200

static double microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* A machine of two packages as a table: `cores` in all, every fourth core of a cache. */
static size_t write_table(char *text, int nodes, int cores, int smt, int gpus)
{
	const int per_node = cores / nodes, per_package = (nodes + 1) / 2;
	char *at = text;
	int lines = 3;

	at += sprintf(at, "numa-align-table 1\nboot -\njob 1\n");
	for (int n = 0; n < nodes; n++, lines++) {
		at += sprintf(at, "node %d cpu 68719476736 %d-%d ", n, n * per_node * smt, (n + 1) * per_node * smt - 1);
		for (int m = 0; m < nodes; m++)
			at += sprintf(at, "%s%d", m ? "," : "",
				      m == n ? 10 : m / per_package == n / per_package ? 11 + abs(m - n) % 4 : 32);
		*at++ = '\n';
	}
	for (int c = 0; c < cores; c++, lines++)
		at += sprintf(at, "core %d-%d %d %d %d\n", c * smt, (c + 1) * smt - 1, c / per_node,
			      c / per_node / per_package, c / 4 * 4 * smt);
	for (int g = 0; g < gpus; g++, lines++)
		at += sprintf(at, "gpu nvidia 0000:%02x:00.0 %d %d %d numa_node %d yes - - -\n", g, g, g,
			      g * nodes / gpus, g * nodes / gpus);
	at += sprintf(at, "end %d\n", lines);
	return (size_t)(at - text);
}

static struct na_machine *parse(const char *text, size_t length, double *best)
{
	char error[200];
	struct na_machine *machine = NULL;

	*best = 1e9;
	for (int i = 0; i < ROUNDS / 4; i++) {
		const double start = microseconds();

		na_machine_free(machine);
		machine = na_table_parse(text, length, error, sizeof(error));
		if (!machine) {
			fprintf(stderr, "%s\n", error);
			exit(1);
		}
		*best = microseconds() - start < *best ? microseconds() - start : *best;
	}
	return machine;
}

/* The whole claim of a step: all its tasks at once. */
static double time_claim(const struct na_machine *machine, const struct na_claimant *claimants, int count)
{
	struct na_set *slices = calloc((size_t)(count ? count : 1), sizeof(*slices));
	const struct na_request request = {
		.cpus = &machine->cpus, .claimants = claimants, .count = count, .owners = count
	};
	double best = 1e9;

	for (int i = 0; i < ROUNDS && slices; i++) {
		const double start = microseconds();

		na_claim(machine, &request, slices);
		best = microseconds() - start < best ? microseconds() - start : best;
	}
	free(slices);
	return best;
}

/* What one task pays, in the middle of the step. */
static double time_place(const struct na_machine *machine, int tasks, int gpus)
{
	struct na_step step = { .machine = machine, .spec = na_spec_built_in, .cpus = machine->cpus,
				.task_count = tasks, .gpu_count = gpus };
	struct na_task task = { .id = tasks / 2, .visible_count = gpus, .mask = machine->cpus };
	struct na_placement placement;
	double best = 1e9;

	na_set_fill(&step.mems);
	for (int i = 0; i < gpus; i++)
		step.gpus[i] = task.visible[i] = i;
	for (int i = 0; i < ROUNDS; i++) {
		const double start = microseconds();

		na_step_place(&step, &task, &placement);
		best = microseconds() - start < best ? microseconds() - start : best;
	}
	return best;
}

int main(int argc, char **argv)
{
	const int nodes = argc > 1 ? atoi(argv[1]) : 64, cores = argc > 2 ? atoi(argv[2]) : 512;
	const int smt = argc > 3 ? atoi(argv[3]) : 2, gpus = argc > 4 ? atoi(argv[4]) : 16;
	const int tasks = argc > 5 ? atoi(argv[5]) : 256;
	char *text = malloc(TEXT_MAX);
	struct na_claimant *claimants = calloc((size_t)tasks, sizeof(*claimants));
	struct na_machine *machine;
	double parsed, with, without;

	if (!text || !claimants)
		return 1;
	machine = parse(text, write_table(text, nodes, cores, smt, gpus), &parsed);
	for (int i = 0; i < tasks; i++)
		claimants[i] = (struct na_claimant){ i, machine->gpus[i * gpus / tasks].node, 1 };
	with = time_place(machine, tasks, gpus);
	without = time_place(machine, tasks, 0);
	printf("{\"parse\": %.1f, \"claim\": %.1f, \"place\": %.1f, \"place_without_gpus\": %.1f}\n", parsed,
	       time_claim(machine, claimants, tasks), with, without);
	na_machine_free(machine);
	free(claimants);
	free(text);
	return 0;
}
