/*
 * Lists of GPUs, which Slurm and the runtimes' variables contain. Python reads them by the same rules
 * (prolog/numa_align/topology/select.py); a test compares the two.
 */
#ifndef NUMA_ALIGN_GPU_LIST_H
#define NUMA_ALIGN_GPU_LIST_H

#include "machine.h"

/*
 * Reads a list of GPUs, separated by commas, into positions in machine->gpus, each once. Returns how many.
 *
 * Blanks around an entry are ignored. A number is Slurm's index; with `among` it is a position in that list.
 * Slurm's own list is taken whole: 0 if an entry is unknown, since half of it is worse than none. A runtime's
 * (`of_runtime`) ends at its first invalid entry, as CUDA reads it, and its numbers count by address if no
 * GPU has an index. A MIG instance's own UUID is valid but names a GPU that the table does not tell: then the
 * whole list is unknown.
 */
int na_gpu_list(const struct na_machine *machine, const char *list, const int *among, int among_count,
		bool of_runtime, int gpus[NA_MAX_GPUS]);

/* An empty list of a runtime, or one whose first entry is -1, shows no GPU (CUDA, ROCm). */
bool na_gpu_list_hides_all(const char *list);

/*
 * Whether CUDA's list has an entry twice, which shows no GPU (so read by _parse_visible_devices in
 * torch/cuda/__init__.py too). Entries behind an invalid one are ignored.
 */
bool na_gpu_list_repeats(const char *list);

/* The variable that shows some of a vendor's GPUs to its runtime; NVIDIA's for an unknown vendor. */
const char *na_visible_variable(const char *vendor);

/*
 * The variables by which a library above that runtime shows some of the remaining GPUs, ending with NULL: the
 * first that is not empty counts (HIP, rocclr's rocdevice.cpp). None for a vendor without such a library.
 */
const char *const *na_inner_variables(const char *vendor);

#endif
