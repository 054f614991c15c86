/* What Slurm calls. Every hook returns 0 whatever happens: this plugin never fails a job. */
#include <slurm/slurm.h>

/* Everything is compiled hidden; this header and macro declare what Slurm looks up by name. */
#pragma GCC visibility push(default)
#include <slurm/spank.h>
SPANK_PLUGIN(numa_align, 1)
#pragma GCC visibility pop

#include "enclosing.h"
#include "option.h"
#include "hooks.h"

int slurm_spank_init(spank_t spank, int count, char **arguments)
{
	switch (spank_context()) {
	case S_CTX_LOCAL:
	case S_CTX_ALLOCATOR:
	case S_CTX_REMOTE:
		na_option_site(count, arguments);
		na_option_register(spank);
		break;
	default:
		/* slurmd keeps the plugin loaded all its life: do nothing there. */
		break;
	}
	return 0;
}

int slurm_spank_init_post_opt(spank_t spank, int count, char **arguments)
{
	(void)spank;
	(void)count;
	(void)arguments;
	if (spank_context() == S_CTX_LOCAL && na_option_on_here())
		na_enclosing_tell();
	return 0;
}

int slurm_spank_user_init(spank_t spank, int count, char **arguments)
{
	(void)count;
	(void)arguments;
	na_stepd_begin(spank);
	return 0;
}

int slurm_spank_task_init(spank_t spank, int count, char **arguments)
{
	(void)count;
	(void)arguments;
	na_stepd_task(spank);
	return 0;
}
