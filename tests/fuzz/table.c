/*
 * libFuzzer: any bytes as a binding table, and if they are one, tasks of any kind placed on it.
 *
 * The input is a table; what follows its end line, which the reader would refuse, says what the
 * step is: bytes that are read one after the other, zero when there are no more.
 */
#include "promises.h"

#include "placement/table.h"

/* Where the table ends: behind the line that starts with "end ", or at the end of all. */
static size_t table_length(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i + 5 < size; i++)
		if (memcmp(data + i, "\nend ", 5) == 0) {
			const uint8_t *newline = memchr(data + i + 1, '\n', size - i - 1);

			return newline ? (size_t)(newline - data) + 1 : size;
		}
	return size;
}

static void place(const struct na_machine *machine, struct bytes *bytes)
{
	struct na_step step = { .machine = machine };
	struct na_task task = { 0 };
	struct na_placement placement;
	struct na_set *slices, all;
	const int options = take(bytes);

	na_set_fill(&all);
	step.spec = (struct na_spec){ .on = true, .smt = options & 1, .mem = (enum na_mem)(options / 2 % 5),
				      .cpus = (enum na_cpus)(options / 10 % 4) };
	step.task_count = 1 + take(bytes);
	task.id = take(bytes) % step.task_count;
	choose_set(bytes, &machine->cpus, &step.cpus);
	choose_set(bytes, &step.cpus, &task.mask);
	choose_set(bytes, &all, &step.mems);
	for (int i = 0; i < machine->gpu_count; i++)
		if (take(bytes) < 200)
			step.gpus[step.gpu_count++] = i;
	for (int i = 0; i < step.gpu_count; i++)
		if (take(bytes) < 200)
			task.visible[task.visible_count++] = step.gpus[i];
	task.cpus_explicit = take(bytes) > 250;
	task.mem_explicit = take(bytes) > 250;
	check(na_step_place(&step, &task, &placement), "memory enough");
	check_placement(&step, &task, &placement);
	if (!placement.gpu_count)
		return;
	slices = calloc((size_t)placement.gpu_count, sizeof(*slices));
	check(slices && na_placement_slices(&step, &placement, slices), "memory enough for slices");
	for (int i = 0; i < placement.gpu_count; i++)
		check(na_set_subset(&slices[i], &placement.cpus), "a slice within the task's CPUs");
	free(slices);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const size_t length = table_length(data, size);
	struct bytes bytes = { data + length, data + size, 0 };
	char error[64] = ""; /* shorter than some messages */
	struct na_machine *machine = na_table_parse((const char *)data, length, error, sizeof(error));

	check(machine || error[0], "a reason for what is refused");
	if (machine)
		place(machine, &bytes);
	na_machine_free(machine);
	return 0;
}
