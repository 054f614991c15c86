#include "report.h"

#include <stdio.h>
#include <string.h>

#include "enclosing.h"
#include "placement/programs.h"

/* Room for 256 GPUs with a few ranges each; what does not fit is left out at a whole entry. */
#define TEXT_MAX 16384

static const char *const names[] = { "NUMA_ALIGN_STATE",   "NUMA_ALIGN_GPUS", "NUMA_ALIGN_CPUS",
				     "NUMA_ALIGN_MEMS",	   "NUMA_ALIGN_MAP",  "NUMA_ALIGN_WORKER",
				     NA_ENCLOSING_VARIABLE };

static void list_gpus(const struct na_machine *machine, const struct na_placement *placement, char *text,
		      size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (int i = 0; i < placement->gpu_count; i++) {
		const int length = snprintf(text + used, size - used, "%s%s", i ? "," : "",
					    machine->gpus[placement->gpus[i]].bdf);

		if (length < 0 || (size_t)length >= size - used) {
			text[used] = '\0';
			return;
		}
		used += (size_t)length;
	}
}

/* BDF=CPUS@NODES for each GPU, parted by semicolons. */
static void list_slices(const struct na_step *step, const struct na_placement *placement, char *text,
			size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (int i = 0; i < placement->gpu_count; i++) {
		char cpus[2048], mems[256];
		struct na_set cpu_set, mem_set;
		int length;

		if (!na_step_slice(step, placement->gpus[i], &cpu_set, &mem_set))
			return;
		na_set_and(&cpu_set, &placement->cpus);
		/* An entry that does not fit is no entry: half a list of CPUs reads like a whole one. */
		if (!na_set_format(&cpu_set, cpus, sizeof(cpus)) ||
		    !na_set_format(&mem_set, mems, sizeof(mems)))
			continue;
		length = snprintf(text + used, size - used, "%s%s=%s@%s", used ? ";" : "",
				  step->machine->gpus[placement->gpus[i]].bdf, cpus, mems);
		if (length < 0 || (size_t)length >= size - used) {
			text[used] = '\0';
			return;
		}
		used += (size_t)length;
	}
}

void na_report_nothing(spank_t spank)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		spank_unsetenv(spank, names[i]);
}

void na_report_environment(spank_t spank, const struct na_step *step, const struct na_placement *placement)
{
	char text[TEXT_MAX];

	na_report_nothing(spank);
	spank_setenv(spank, "NUMA_ALIGN_STATE", na_state_name(placement->state), 1);
	if (!step->machine)
		return;
	list_gpus(step->machine, placement, text, sizeof(text));
	spank_setenv(spank, "NUMA_ALIGN_GPUS", text, 1);
	na_set_format(&placement->cpus, text, sizeof(text));
	spank_setenv(spank, "NUMA_ALIGN_CPUS", text, 1);
	na_set_format(&placement->mems, text, sizeof(text));
	spank_setenv(spank, "NUMA_ALIGN_MEMS", text, 1);
	if (placement->gpu_count > 1) {
		list_slices(step, placement, text, sizeof(text));
		spank_setenv(spank, "NUMA_ALIGN_MAP", text, 1);
	}
}

void na_report_programs(spank_t spank, const struct na_machine *machine, const struct na_placement *placement)
{
	/* A task with all CPUs has no place to lose, and a program that starts workers may well place them. */
	if (!placement->set_cpus || na_set_equal(&placement->cpus, &machine->cpus))
		return;
	for (const struct na_program *program = na_programs; program->variable; program++)
		spank_setenv(spank, program->variable, program->value, 0);
}

void na_report_task(int global_id, const struct na_machine *machine, const struct na_placement *placement,
		    struct na_by_hand by_hand, const char *memory, long microseconds)
{
	char gpus[1024] = "", cpus[1024], mems[256];

	if (machine)
		list_gpus(machine, placement, gpus, sizeof(gpus));
	na_set_format(&placement->cpus, cpus, sizeof(cpus));
	na_set_format(&placement->mems, mems, sizeof(mems));
	slurm_spank_log("numa-align: task %d: %s gpus=%s cpus=%s%s%s%s mems=%s policy=%s%s%s%s%s %ld us",
			global_id, na_state_name(placement->state), gpus[0] ? gpus : "-",
			cpus[0] ? cpus : "-", by_hand.cpus ? " (" : "", by_hand.cpus ? by_hand.cpus : "",
			by_hand.cpus ? ")" : "", mems[0] ? mems : "-", na_policy_name(placement->policy),
			by_hand.mem ? " (" : "", by_hand.mem ? by_hand.mem : "", by_hand.mem ? ")" : "",
			memory, microseconds);
}
