#include "libraries.h"

#include <stdio.h>

const char *na_library_variable(enum na_library library)
{
	static const char *const names[NA_LIBRARIES] = {
		[NA_LIBRARY_UCX] = "UCX_NET_DEVICES",
		[NA_LIBRARY_CRAY_MPICH] = "MPICH_OFI_NIC_POLICY",
	};

	return (unsigned)library < NA_LIBRARIES ? names[library] : "";
}

/* All cards of a task have the same fabric. */
static enum na_fabric fabric_of(const struct na_machine *machine, na_nics nics)
{
	for (int i = 0; i < machine->nic_count; i++)
		if (nics & NA_NIC(i))
			return machine->nics[i].fabric;
	return NA_FABRICS;
}

/* NAME:PORT for each card, separated by commas; false if not all fit. */
static bool list_ports(const struct na_machine *machine, na_nics nics, char *text, size_t size)
{
	size_t used = 0;

	for (int i = 0; i < machine->nic_count; i++) {
		const struct na_nic *nic = &machine->nics[i];
		int length;

		if (!(nics & NA_NIC(i)))
			continue;
		length = snprintf(text + used, size - used, "%s%s:%d", used ? "," : "", nic->name,
				  nic->port > 0 ? nic->port : 1);
		if (length < 0 || (size_t)length >= size - used)
			return false;
		used += (size_t)length;
	}
	return used > 0;
}

static bool on_one_node(const struct na_machine *machine, const struct na_set *cpus)
{
	for (int i = 0; i < machine->node_count; i++)
		if (na_set_subset(cpus, &machine->nodes[i].cpus))
			return !na_set_empty(cpus);
	return false;
}

bool na_library_text(const struct na_machine *machine, const struct na_placement *placement,
		     enum na_library library, char *text, size_t size)
{
	const enum na_fabric fabric = fabric_of(machine, placement->nics);

	switch (library) {
	case NA_LIBRARY_UCX:
		return (fabric == NA_INFINIBAND || fabric == NA_ROCE) &&
		       list_ports(machine, placement->nics, text, size);
	case NA_LIBRARY_CRAY_MPICH:
		/* The card on the node to which the rank is bound, which is the node of its GPUs. */
		snprintf(text, size, "NUMA");
		return fabric == NA_SLINGSHOT && on_one_node(machine, &placement->cpus);
	}
	return false;
}
