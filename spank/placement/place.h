/*
 * A step on one node: what its tasks get. Pure; the plugin, `numa-align plan` and `numa-align run`
 * all come through here, so that a dry run cannot differ from the real one.
 */
#ifndef NUMA_ALIGN_PLACE_H
#define NUMA_ALIGN_PLACE_H

#include "step.h"

/* Decides for one task. False only if there is no memory. */
bool na_step_place(const struct na_step *step, const struct na_task *task, struct na_placement *placement);

/* The parts of its CPUs that each of its GPUs has, for NUMA_ALIGN_MAP: slices[i] of placement->gpus[i]. */
bool na_placement_slices(const struct na_step *step, const struct na_placement *placement,
			 struct na_set *slices);

/* Adds the node that host memory for a GPU (a position in machine->gpus) comes from in this step. */
void na_gpu_memory(const struct na_step *step, int gpu, struct na_set *mems);

#endif
