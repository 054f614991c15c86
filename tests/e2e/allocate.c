/*
 * Has slurmctld make allocations of one GPU each, as `salloc --no-shell -n1 -cC --gpus=1
 * --gres-flags=enforce-binding` does, with C one and two in turn; no step is launched.
 *
 *     allocate JOBS AT_ONCE
 *
 * Build with -DSLURM_BACKWARD_COMPAT, for 26.05 to know jobs by their number. AT_ONCE of them, at most 8, beside one that is kept from before, so that the node is partly taken. What each got is printed by
 * `scontrol -d show job`, once for these. A salloc and a scancel a job, which do the same through the same
 * library, take minutes for fifty on an emulated machine: each loads Slurm's library and plugins anew.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>

enum { MOST = 8, PATIENCE = 60 };

static uint32_t allocate(uint16_t cpus)
{
	job_desc_msg_t job;
	resource_allocation_response_msg_t *answer;

	slurm_init_job_desc_msg(&job);
	job.name = (char *)"allocate";
	job.user_id = getuid();
	job.group_id = getgid();
	job.work_dir = (char *)"/tmp";
	job.min_nodes = 1;
	job.max_nodes = 1;
	job.num_tasks = 1;
	job.min_cpus = cpus;
	job.cpus_per_task = cpus;
	job.bitflags |= GRES_ENFORCE_BIND;
	/* 23.11 renamed the resource. */
	job.tres_per_job = (char *)(SLURM_VERSION_NUMBER >= 0x170b00 ? "gres/gpu:1" : "gres:gpu:1");
#if SLURM_VERSION_NUMBER >= 0x1a0500
	answer = slurm_allocate_resources_blocking(&job, PATIENCE, NULL, -1);
#else
	answer = slurm_allocate_resources_blocking(&job, PATIENCE, NULL);
#endif
	if (!answer) {
		fprintf(stderr, "allocate: %s\n", slurm_strerror(errno));
		exit(1);
	}
#if SLURM_VERSION_NUMBER >= 0x1a0500
	return answer->step_id.job_id;
#else
	return answer->job_id;
#endif
}

int main(int argc, char **argv)
{
	int jobs = argc == 3 ? atoi(argv[1]) : 0;
	int at_once = argc == 3 ? atoi(argv[2]) : 0;
	uint32_t held[MOST + 1];
	int count = 0;
	int asked = 0;

	if (at_once < 1 || at_once > MOST)
		return 2;
	slurm_init(NULL);
	for (int round = 0; asked < jobs; round++) {
		for (int i = 0; i < at_once && asked < jobs; i++, asked++)
			held[count++] = allocate((uint16_t)(asked % 2 + 1));
		if (system("scontrol -d show job | grep -o -e '^JobId=[0-9]*' -e 'CPU_IDs=.*'"))
			return 1;
		int kept = asked < jobs ? round % count : -1;
		for (int i = 0; i < count; i++)
			if (i != kept)
				slurm_kill_job(held[i], SIGKILL, 0);
		if (kept >= 0)
			held[0] = held[kept];
		count = 1;
	}
	return 0;
}
