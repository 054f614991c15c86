#include "programs.h"

#include <stddef.h>

/* docs/users.md has the sources. */
const struct na_program na_programs[] = {
	/* TensorRT-LLM removes a mask that something else has set. */
	{ "TLLM_NUMA_AWARE_WORKER_AFFINITY", "0" },
	/* NeMo-RL binds its processes again. */
	{ "NRL_DISABLE_NUMA_BINDING", "1" },
	{ NULL, NULL },
};
