#include "parts.h"

#include <slurm/spank.h>
#include <sys/resource.h>
#include <time.h>

#include "bind.h"
#include "cpuset.h"
#include "devices.h"
#include "meeting.h"
#include "report.h"

const char *const part_names[PARTS] = { "table", "devices", "access", "meeting",  "cpuset", "place",
					"calls", "report",  "setenv", "programs", "all",    "faults" };
double part_spent[PARTS];
bool part_by_part;

double part_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

double part_begins(void)
{
	return part_by_part ? part_now() : 0;
}

void part_ends(enum part part, double start)
{
	if (part_by_part)
		part_spent[part] += part_now() - start;
}

long part_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

spank_err_t __real_spank_setenv(spank_t spank, const char *name, const char *value, int overwrite);
spank_err_t __wrap_spank_setenv(spank_t spank, const char *name, const char *value, int overwrite)
{
	spank_err_t status;

	TIMED(SETENV, status = __real_spank_setenv(spank, name, value, overwrite));
	return status;
}

int __real_na_devices_of_task(spank_t spank, const struct na_machine *machine, const int *step_gpus,
			      int step_count, int found[NA_MAX_GPUS]);
int __wrap_na_devices_of_task(spank_t spank, const struct na_machine *machine, const int *step_gpus,
			      int step_count, int found[NA_MAX_GPUS])
{
	int count;

	TIMED(DEVICES, count = __real_na_devices_of_task(spank, machine, step_gpus, step_count, found));
	return count;
}

const struct na_sight *__real_na_meeting_meet(struct na_meeting *meeting, int id, int count,
					      const struct na_sight *sight, bool wait);
const struct na_sight *__wrap_na_meeting_meet(struct na_meeting *meeting, int id, int count,
					      const struct na_sight *sight, bool wait)
{
	const struct na_sight *sights;

	TIMED(MEETING, sights = __real_na_meeting_meet(meeting, id, count, sight, wait));
	return sights;
}

void __real_na_cpuset_of_step(spank_t spank, const struct na_set *mask, struct na_set *cpus);
void __wrap_na_cpuset_of_step(spank_t spank, const struct na_set *mask, struct na_set *cpus)
{
	TIMED(CPUSET, __real_na_cpuset_of_step(spank, mask, cpus));
}

bool __real_na_step_place(const struct na_step *step, const struct na_task *placed,
			  struct na_placement *placement);
bool __wrap_na_step_place(const struct na_step *step, const struct na_task *placed,
			  struct na_placement *placement)
{
	bool done;

	TIMED(PLACE, done = __real_na_step_place(step, placed, placement));
	return done;
}

#define TIMED_CALL(name, declared, passed) \
	int __real_##name declared; \
	int __wrap_##name declared \
	{ \
		int status; \
\
		TIMED(CALLS, status = __real_##name passed); \
		return status; \
	}

TIMED_CALL(na_bind_get_cpus, (struct na_set * cpus), (cpus))
TIMED_CALL(na_bind_allowed_mems, (struct na_set * mems), (mems))
TIMED_CALL(na_bind_set_memory, (enum na_policy * policy, const struct na_set *mems), (policy, mems))
TIMED_CALL(na_bind_get_policy, (struct na_set * nodes), (nodes))

void __real_na_report_environment(spank_t spank, const struct na_step *step,
				  const struct na_placement *placement);
void __wrap_na_report_environment(spank_t spank, const struct na_step *step,
				  const struct na_placement *placement)
{
	TIMED(REPORT, __real_na_report_environment(spank, step, placement));
}

void __real_na_report_programs(spank_t spank, const struct na_machine *machine,
			       const struct na_placement *placement);
void __wrap_na_report_programs(spank_t spank, const struct na_machine *machine,
			       const struct na_placement *placement)
{
	TIMED(PROGRAMS, __real_na_report_programs(spank, machine, placement));
}
