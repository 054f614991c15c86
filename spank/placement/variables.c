#include "variables.h"

#include <stdio.h>
#include <stdlib.h>

#include "place.h"

const char *na_variable_name(enum na_variable variable)
{
	static const char *const names[NA_VARIABLES] = {
		[NA_VARIABLE_STATE] = "NUMA_ALIGN_STATE", [NA_VARIABLE_GPUS] = "NUMA_ALIGN_GPUS",
		[NA_VARIABLE_CPUS] = "NUMA_ALIGN_CPUS",	  [NA_VARIABLE_MEMS] = "NUMA_ALIGN_MEMS",
		[NA_VARIABLE_MAP] = "NUMA_ALIGN_MAP",	  [NA_VARIABLE_REASON] = "NUMA_ALIGN_REASON",
		[NA_VARIABLE_NICS] = "NUMA_ALIGN_NICS",	  [NA_VARIABLE_WORKER] = "NUMA_ALIGN_WORKER",
	};

	return (unsigned)variable < NA_VARIABLES ? names[variable] : "";
}

void na_list_gpus(const struct na_machine *machine, const struct na_placement *placement, char *text,
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

void na_list_nics(const struct na_machine *machine, na_nics nics, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (int i = 0; i < machine->nic_count; i++) {
		int length;

		if (!(nics & NA_NIC(i)))
			continue;
		length = snprintf(text + used, size - used, "%s%s", used ? "," : "", machine->nics[i].name);
		if (length < 0 || (size_t)length >= size - used) {
			text[used] = '\0';
			return;
		}
		used += (size_t)length;
	}
}

static void list_slices(const struct na_step *step, const struct na_placement *placement, char *text,
			size_t size)
{
	struct na_set *slices = calloc((size_t)placement->gpu_count, sizeof(*slices));
	size_t used = 0;

	text[0] = '\0';
	for (int i = 0; slices && i < placement->gpu_count; i++) {
		char cpus[2048], mems[256];
		struct na_set nodes;
		int length;

		if (i == 0 && !na_placement_slices(step, placement, slices))
			break;
		na_set_clear(&nodes);
		na_gpu_memory(step, placement->gpus[i], &nodes);
		/* An entry that does not fit is left out: half a list of CPUs would look like a whole one. */
		if (!na_set_format(&slices[i], cpus, sizeof(cpus)) ||
		    !na_set_format(&nodes, mems, sizeof(mems)))
			continue;
		length = snprintf(text + used, size - used, "%s%s=%s@%s", used ? ";" : "",
				  step->machine->gpus[placement->gpus[i]].bdf, cpus, mems);
		if (length < 0 || (size_t)length >= size - used) {
			text[used] = '\0';
			break;
		}
		used += (size_t)length;
	}
	free(slices);
}

bool na_variable_text(const struct na_step *step, const struct na_placement *placement,
		      enum na_variable variable, char *text, size_t size)
{
	if (!step->machine && variable != NA_VARIABLE_STATE && variable != NA_VARIABLE_REASON)
		return false;
	switch (variable) {
	case NA_VARIABLE_STATE:
		snprintf(text, size, "%s", na_state_name(placement->state));
		return true;
	case NA_VARIABLE_GPUS:
		na_list_gpus(step->machine, placement, text, size);
		return true;
	case NA_VARIABLE_CPUS:
		na_set_format(&placement->cpus, text, size);
		return true;
	case NA_VARIABLE_MEMS:
		na_set_format(&placement->mems, text, size);
		return true;
	case NA_VARIABLE_MAP:
		if (placement->gpu_count < 2)
			return false;
		list_slices(step, placement, text, size);
		return true;
	case NA_VARIABLE_NICS:
		na_list_nics(step->machine, placement->nics, text, size);
		return text[0] != '\0';
	case NA_VARIABLE_REASON:
		snprintf(text, size, "%s", placement->reason[0] ? placement->reason : placement->note);
		return text[0] != '\0';
	case NA_VARIABLE_WORKER:
	case NA_VARIABLES:
		break;
	}
	return false;
}
