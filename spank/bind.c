#include "bind.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/mempolicy.h defines it since 5.15. */
#define PREFERRED_MANY 5

/*
 * Raw system calls: glibc's cpu_set_t ends at 1024 CPUs, and libnuma would be another library in slurmstepd
 * for what takes one call.
 */
int na_bind_get_cpus(struct na_set *cpus)
{
	na_set_clear(cpus);
	return syscall(SYS_sched_getaffinity, 0, sizeof(*cpus), cpus) < 0 ? errno : 0;
}

int na_bind_set_cpus(const struct na_set *cpus)
{
	return syscall(SYS_sched_setaffinity, 0, sizeof(*cpus), cpus) < 0 ? errno : 0;
}

int na_bind_widest_cpus(struct na_set *cpus)
{
	struct na_set all;
	int status;

	na_set_fill(&all);
	status = na_bind_set_cpus(&all);
	return status ? status : na_bind_get_cpus(cpus);
}

int na_bind_allowed_mems(struct na_set *mems)
{
	na_set_clear(mems);
	return syscall(SYS_get_mempolicy, NULL, mems, (unsigned long)NA_SET_BITS, NULL, MPOL_F_MEMS_ALLOWED) <
			       0
		       ? errno
		       : 0;
}

static const int modes[] = {
	[NA_POLICY_DEFAULT] = MPOL_DEFAULT, [NA_POLICY_PREFERRED] = MPOL_PREFERRED,
	[NA_POLICY_BIND] = MPOL_BIND,	    [NA_POLICY_INTERLEAVE] = MPOL_INTERLEAVE,
	[NA_POLICY_LOCAL] = MPOL_LOCAL,	    [NA_POLICY_PREFERRED_MANY] = PREFERRED_MANY,
};

enum na_policy na_bind_get_policy(struct na_set *nodes)
{
	int mode = MPOL_DEFAULT;

	na_set_clear(nodes);
	if (syscall(SYS_get_mempolicy, &mode, nodes, (unsigned long)NA_SET_BITS, NULL, 0UL) < 0)
		return NA_POLICY_DEFAULT;
	mode &= ~(MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (modes[i] == mode)
			return (enum na_policy)i;
	return NA_POLICY_DEFAULT;
}

static int set_memory(enum na_policy policy, const struct na_set *mems)
{
	const bool nodes = policy != NA_POLICY_DEFAULT && policy != NA_POLICY_LOCAL;

	return syscall(SYS_set_mempolicy, modes[policy], nodes ? mems : NULL,
		       nodes ? (unsigned long)NA_SET_BITS : 0UL) < 0
		       ? errno
		       : 0;
}

int na_bind_set_memory(enum na_policy *policy, const struct na_set *mems)
{
	const int error = set_memory(*policy, mems);

	if (error != EINVAL || *policy != NA_POLICY_PREFERRED_MANY)
		return error;
	*policy = na_set_count(mems) == 1 ? NA_POLICY_PREFERRED : NA_POLICY_LOCAL;
	return set_memory(*policy, mems);
}
