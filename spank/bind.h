/* The system calls: CPU masks and memory policy of the calling process. */
#ifndef NUMA_ALIGN_BIND_H
#define NUMA_ALIGN_BIND_H

#include "placement/bitset.h"
#include "placement/step.h"

/* Each returns 0 or an errno. */
int na_bind_get_cpus(struct na_set *cpus);
int na_bind_set_cpus(const struct na_set *cpus);

/*
 * Every CPU to which this process could be bound: the kernel cuts sched_setaffinity(2) with all CPUs to the
 * cpuset. The mask stays widened; the caller sets the final one.
 */
int na_bind_widest_cpus(struct na_set *cpus);

/* Mems_allowed of this process (get_mempolicy(2), MPOL_F_MEMS_ALLOWED), as node ids. */
int na_bind_allowed_mems(struct na_set *mems);

/*
 * The policy that get_mempolicy(2) returns: its mode in our names, NA_POLICY_DEFAULT if it is none of them,
 * and its nodes, which default and local do not have.
 */
enum na_policy na_bind_get_policy(struct na_set *nodes);

/*
 * set_mempolicy(2). Kernels before 5.15 refuse preferred-many; *policy is then set to the nearest that
 * they have: preferred for one node, local for several.
 */
int na_bind_set_memory(enum na_policy *policy, const struct na_set *mems);

#endif
