#include "report.h"

#include <stdio.h>

#include "enclosing.h"
#include "placement/libraries.h"
#include "placement/programs.h"
#include "placement/variables.h"

void na_report_nothing(spank_t spank)
{
	for (int i = 0; i < NA_VARIABLES; i++)
		spank_unsetenv(spank, na_variable_name((enum na_variable)i));
	spank_unsetenv(spank, NA_VARIABLE_DRY);
	spank_unsetenv(spank, NA_ENCLOSING_VARIABLE);
}

void na_report_environment(spank_t spank, const struct na_step *step, const struct na_placement *placement)
{
	char text[NA_VARIABLE_TEXT_MAX];

	na_report_nothing(spank);
	for (int i = 0; i < NA_VARIABLES; i++)
		if (na_variable_text(step, placement, (enum na_variable)i, text, sizeof(text)))
			spank_setenv(spank, na_variable_name((enum na_variable)i), text, 1);
}

void na_report_rehearsed(spank_t spank, const struct na_machine *machine,
			 const struct na_placement *placement)
{
	char text[NA_VARIABLE_TEXT_MAX];
	char gpus[sizeof(text) / 4], cpus[sizeof(text) / 4], mems[sizeof(text) / 4];

	na_report_nothing(spank);
	if (!na_set_format(&placement->cpus, cpus, sizeof(cpus)) ||
	    !na_set_format(&placement->mems, mems, sizeof(mems)))
		return;
	gpus[0] = '\0';
	if (machine)
		na_list_gpus(machine, placement, gpus, sizeof(gpus));
	snprintf(text, sizeof(text), "%s gpus=%s cpus=%s mems=%s", na_state_name(placement->state), gpus,
		 cpus, mems);
	spank_setenv(spank, NA_VARIABLE_DRY, text, 1);
}

void na_report_programs(spank_t spank, const struct na_machine *machine, const struct na_placement *placement)
{
	/* A task with all CPUs has no placement to lose, and if it starts workers, the program may place them. */
	if (!placement->set_cpus || na_set_equal(&placement->cpus, &machine->cpus))
		return;
	for (const struct na_program *program = na_programs; program->variable; program++)
		spank_setenv(spank, program->variable, program->value, 0);
}

void na_report_libraries(spank_t spank, int global_id, const struct na_machine *machine,
			 const struct na_placement *placement, bool verbose)
{
	char text[NA_VARIABLE_TEXT_MAX];

	for (int i = 0; i < NA_LIBRARIES; i++) {
		const char *variable = na_library_variable((enum na_library)i);
		spank_err_t status;

		if (!na_library_text(machine, placement, (enum na_library)i, text, sizeof(text)))
			continue;
		status = spank_setenv(spank, variable, text, 0);
		if (verbose && status == ESPANK_ENV_EXISTS)
			slurm_spank_log("numa-align: task %d: %s is set already and stays", global_id,
					variable);
		else if (verbose && status == ESPANK_SUCCESS)
			slurm_spank_log("numa-align: task %d: set %s=%s", global_id, variable, text);
	}
	if (verbose && !placement->nics)
		slurm_spank_log("numa-align: task %d: nic: no network card for RDMA that is up and that it "
				"may open is known",
				global_id);
}

/* " (8 on the nodes of its GPUs, 24 beside)" if both occur: it explains "local". */
static void describe_cpus(const struct na_placement *placement, char *text, size_t size)
{
	text[0] = '\0';
	if (placement->beside > 0)
		snprintf(text, size, " (%d on the nodes of its GPUs, %d beside)", placement->own,
			 placement->beside);
}

void na_report_task(int global_id, const struct na_machine *machine, const struct na_placement *placement,
		    struct na_explicit explicit, const char *memory, long microseconds)
{
	char gpus[1024] = "", cpus[1024], mems[256], where[80];

	if (machine)
		na_list_gpus(machine, placement, gpus, sizeof(gpus));
	na_set_format(&placement->cpus, cpus, sizeof(cpus));
	na_set_format(&placement->mems, mems, sizeof(mems));
	describe_cpus(placement, where, sizeof(where));
	slurm_spank_log("numa-align: task %d: %s gpus=%s cpus=%s%s%s%s%s mems=%s policy=%s%s%s%s%s %ld us",
			global_id, na_state_name(placement->state), gpus[0] ? gpus : "-",
			cpus[0] ? cpus : "-", where, explicit.cpus ? " (" : "",
			explicit.cpus ? explicit.cpus : "", explicit.cpus ? ")" : "", mems[0] ? mems : "-",
			na_policy_name(placement->policy), explicit.mem ? " (" : "",
			explicit.mem ? explicit.mem : "", explicit.mem ? ")" : "", memory, microseconds);
	if (placement->note[0])
		slurm_spank_log("numa-align: task %d: %s", global_id, placement->note);
}
