/*
 * A step on one node: what its tasks get. Pure; the plugin, `numa-align plan` and `numa-align run`
 * all call this, so that a dry run cannot differ from the real one.
 */
#ifndef NUMA_ALIGN_PLACE_H
#define NUMA_ALIGN_PLACE_H

#include "step.h"

/* Decides for one task. False only if there is no memory. */
bool na_step_place(const struct na_step *step, const struct na_task *task, struct na_placement *placement);

/* For NUMA_ALIGN_MAP, the parts of its CPUs for each of its GPUs: slices[i] for placement->gpus[i]. */
bool na_placement_slices(const struct na_step *step, const struct na_placement *placement,
			 struct na_set *slices);

/* Adds the node from which host memory for a GPU (a position in machine->gpus) is taken in this step. */
void na_gpu_memory(const struct na_step *step, int gpu, struct na_set *mems);

#endif
