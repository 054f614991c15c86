#include "step.h"

const char *na_state_name(enum na_state state)
{
	static const char *const names[] = { "aligned", "partial", "memory-only", "unaligned" };

	return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "";
}

const char *na_policy_name(enum na_policy policy)
{
	static const char *const names[] = { "default",	   "preferred", "bind",
					     "interleave", "local",	"preferred-many" };

	return (size_t)policy < sizeof(names) / sizeof(names[0]) ? names[policy] : "";
}

bool na_local_to_step(const struct na_step *step, const struct na_set *cpus)
{
	for (int i = 0; i < step->gpu_count; i++) {
		struct na_set local;

		na_set_clear(&local);
		na_local_cpus(step->machine, step->machine->gpus[step->gpus[i]].node, &local);
		if (na_set_meets(&local, cpus))
			return true;
	}
	return false;
}
