/* Sharing out: how many units of each pool every owner gets. claim.c decides which ones. */
#ifndef NUMA_ALIGN_SHARE_H
#define NUMA_ALIGN_SHARE_H

#include "request.h"
#include "seats.h"
#include "units.h"

/* Units of a pool that an owner gets. */
struct na_grant {
	int pool, owner, units;
};

struct na_shares {
	struct na_grant *grants; /* of a pool, in the order in which they are laid out; free() them */
	int count;
	bool crowded; /* fewer cores than owners: grants count seats */
	struct na_seating seating;
};

/* Shares whole cores by the request's claimants, one of which has a known node. False only without memory. */
bool na_share(const struct na_machine *machine, const struct na_request *request,
	      const struct na_units *units, struct na_shares *shares);

#endif
