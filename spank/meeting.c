#include "meeting.h"

#include <sys/mman.h>
#include <time.h>

#define LONGEST_WAIT_MS 2000
#define LOOK_AGAIN_NS 200000L

struct na_meeting {
	int came; /* tasks that have written what they see */
	int missed; /* one task did not wait for the others: then all decide alone */
	int warned;
	struct na_sight sights[NA_MAX_TASKS]; /* pages are used only as far as the step has tasks */
};

struct na_meeting *na_meeting_new(void)
{
	struct na_meeting *meeting =
		mmap(NULL, sizeof(*meeting), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return meeting == MAP_FAILED ? NULL : meeting;
}

static long milliseconds(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
		return 0;
	return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

const struct na_sight *na_meeting_meet(struct na_meeting *meeting, int id, int tasks,
				       const struct na_sight *sight, bool wait)
{
	const long start = milliseconds();
	const struct timespec pause = { .tv_nsec = LOOK_AGAIN_NS };

	if (!meeting || id < 0 || id >= tasks || tasks > NA_MAX_TASKS)
		return NULL;
	meeting->sights[id] = *sight;
	__atomic_fetch_add(&meeting->came, 1, __ATOMIC_RELEASE);
	if (!wait)
		return NULL;
	while (__atomic_load_n(&meeting->came, __ATOMIC_ACQUIRE) < tasks) {
		if (milliseconds() - start > LONGEST_WAIT_MS) {
			__atomic_store_n(&meeting->missed, 1, __ATOMIC_RELAXED);
			return NULL;
		}
		nanosleep(&pause, NULL);
	}
	return __atomic_load_n(&meeting->missed, __ATOMIC_RELAXED) ? NULL : meeting->sights;
}

bool na_meeting_first_to_warn(struct na_meeting *meeting)
{
	return !meeting || !__atomic_exchange_n(&meeting->warned, 1, __ATOMIC_RELAXED);
}
