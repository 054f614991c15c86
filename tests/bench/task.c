/*
 * Where the plugin's microseconds in a task go: the hooks as they are, over fakes of what slurmstepd offers,
 * in children that are forked as slurmstepd forks tasks. task TABLE GPUS TASKS prints JSON: CPU time by part,
 * medians over all tasks. tests/bench/task.py compiles and runs it.
 */
#include <fcntl.h>
#include <slurm/spank.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bind.h"
#include "hooks.h"
#include "option.h"
#include "parts.h"
#include "placement/table.h"

#define ROUNDS 40
#define LIST_MAX 4096

static const char *table_path;
static int tasks, task, gpus;

/* -- What slurmstepd offers ---------------------------------------------------------------------- */

spank_err_t spank_getenv(spank_t spank, const char *name, char *text, int size)
{
	const char *value = getenv(name);

	(void)spank;
	if (!value)
		return ESPANK_ENV_NOEXIST;
	return snprintf(text, (size_t)size, "%s", value) < size ? ESPANK_SUCCESS : ESPANK_NOSPACE;
}

spank_err_t spank_setenv(spank_t spank, const char *name, const char *value, int overwrite)
{
	(void)spank;
	return setenv(name, value, overwrite) ? ESPANK_ERROR : ESPANK_SUCCESS;
}

spank_err_t spank_unsetenv(spank_t spank, const char *name)
{
	(void)spank;
	return unsetenv(name) ? ESPANK_ERROR : ESPANK_SUCCESS;
}

spank_err_t spank_get_item(spank_t spank, spank_item_t item, ...)
{
	va_list arguments;
	void *into;

	(void)spank;
	va_start(arguments, item);
	into = va_arg(arguments, void *);
	va_end(arguments);
	switch (item) {
	case S_JOB_ID:
	case S_JOB_STEPID:
		*(uint32_t *)into = 1;
		return ESPANK_SUCCESS;
	case S_JOB_LOCAL_TASK_COUNT:
		*(uint32_t *)into = (uint32_t)tasks;
		return ESPANK_SUCCESS;
	case S_TASK_ID:
	case S_TASK_GLOBAL_ID:
		*(int *)into = task;
		return ESPANK_SUCCESS;
	default:
		return ESPANK_BAD_ARG;
	}
}

spank_err_t spank_option_register(spank_t spank, struct spank_option *option)
{
	(void)spank, (void)option;
	return ESPANK_SUCCESS;
}

void slurm_error(const char *format, ...)
{
	(void)format;
}
void slurm_verbose(const char *format, ...)
{
	(void)format;
}
void slurm_spank_log(const char *format, ...)
{
	(void)format;
}

/* -- Parts that are timed ------------------------------------------------------------------------ */

int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode)
{
	int status;

	(void)path;
	TIMED(ACCESS, status = __real_access("/dev/null", mode));
	return status;
}

int __real_faccessat(int folder, const char *path, int mode, int flags);
int __wrap_faccessat(int folder, const char *path, int mode, int flags)
{
	int status;

	(void)path;
	TIMED(ACCESS, status = __real_faccessat(folder, "/dev/null", mode, flags));
	return status;
}

/* The file as the prolog writes it, wherever it is and whoever owns it. */
struct na_machine *__wrap_na_table_read(uint32_t job, char *failure, size_t size)
{
	struct na_machine *machine = NULL;
	double start = part_now();
	const int file = open(table_path, O_RDONLY);
	char *text = malloc(4 << 20);
	const ssize_t length = file >= 0 && text ? read(file, text, 4 << 20) : -1;

	(void)job;
	if (length > 0)
		machine = na_table_parse(text, (size_t)length, failure, size);
	free(text);
	close(file);
	part_spent[TABLE] += part_now() - start;
	return machine;
}

int __real_na_bind_set_cpus(const struct na_set *cpus);
int __wrap_na_bind_set_cpus(const struct na_set *cpus)
{
	/* The machine of the table is not this one: the call is made, with what the kernel takes. */
	struct na_set all;

	(void)cpus;
	na_set_fill(&all);
	TIMED(CALLS, __real_na_bind_set_cpus(&all));
	return 0;
}

/* -- A step --------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void run_task(double *row)
{
	const long before = part_faults();
	const double start = part_now();

	memset(part_spent, 0, sizeof(part_spent));
	na_stepd_task(NULL);
	part_spent[ALL] = part_now() - start;
	part_spent[FAULTS] = (double)(part_faults() - before);
	memcpy(row, part_spent, sizeof(part_spent));
	_exit(0);
}

int main(int count, char **words)
{
	char list[LIST_MAX] = "";
	double *rows, step_table, step_all;

	if (count != 4)
		return 2;
	table_path = words[1];
	gpus = atoi(words[2]);
	tasks = atoi(words[3]);
	for (int i = 0; i < gpus; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%d", i ? "," : "", i);
	setenv("SLURM_STEP_GPUS", list, 1);
	setenv("CUDA_VISIBLE_DEVICES", list, 1);
	setenv("NUMA_ALIGN", "on", 1);
	rows = mmap(NULL, sizeof(double) * PARTS * ROUNDS * (size_t)tasks, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (rows == MAP_FAILED)
		return 1;
	part_by_part = true;
	step_all = part_now();
	na_stepd_begin(NULL);
	step_all = part_now() - step_all;
	step_table = part_spent[TABLE];
	for (int round = 0; round < ROUNDS; round++) {
		part_by_part = round < ROUNDS / 2;
		for (task = 0; task < tasks; task++) {
			const pid_t child = fork();

			if (child == 0)
				run_task(rows + PARTS * (round * tasks + task));
			if (child < 0 || waitpid(child, NULL, 0) != child)
				return 1;
		}
	}
	printf("{\"step\": %.1f, \"table\": %.1f", step_all, step_table);
	for (int part = DEVICES; part < PARTS; part++) {
		const int half = ROUNDS / 2 * tasks, from = part == ALL || part == FAULTS ? half : 0;
		double *column = calloc((size_t)half, sizeof(*column));

		for (int i = 0; i < half; i++)
			column[i] = rows[PARTS * (from + i) + part];
		qsort(column, (size_t)half, sizeof(*column), compare);
		printf(", \"%s\": %.1f", part_names[part], column[half / 2]);
		free(column);
	}
	printf("}\n");
	return 0;
}
