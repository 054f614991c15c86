#include "enclosing.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "placement/explicit.h"

/* srun's options come first, so the beginning of a longer command line has them too. */
#define COMMAND_LINE_MAX 65536

static const char *const words[] = { "option", "variable", "enclosing" };

static size_t command_line(char *text)
{
	size_t length = 0;
	ssize_t part;
	int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);

	if (file < 0)
		return 0;
	while (length < COMMAND_LINE_MAX && (part = read(file, text + length, COMMAND_LINE_MAX - length)) > 0)
		length += (size_t)part;
	close(file);
	return length;
}

/*
 * Whether an argument is --cpu-bind (--cpu_bind, or any abbreviation that getopt_long(3) accepts) with a
 * value that binds: "verbose" leaves the environment's choice. The program's own arguments are not distinguished
 * from srun's; if one of them looks like it, the binding counts as the user's and is kept.
 */
static bool option_given(const char *text, size_t length, const char *start, bool (*binds)(const char *))
{
	for (const char *at = text; at < text + length; at += strlen(at) + 1) {
		const char *value;

		if (strncmp(at, "--", 2) != 0 || strncmp(at + 2, start, 3) != 0 ||
		    (at[5] != '-' && at[5] != '_') || at[6] != 'b')
			continue;
		value = strchr(at, '=');
		value = value ? value + 1 : at + strlen(at) + 1;
		if (value < text + length && binds(value))
			return true;
	}
	return false;
}

static bool binds_cpus(const char *value)
{
	return na_cpu_bind(value) != NA_CPU_BIND_NOTHING;
}

static bool binds_memory(const char *value)
{
	return na_mem_bind(value) != NA_MEM_BIND_NOTHING;
}

void na_enclosing_tell(void)
{
	const char *cpus = getenv("SLURM_CPU_BIND"), *mem = getenv("SLURM_MEM_BIND");
	enum na_decider by_cpus = NA_BY_VARIABLE, by_mem = NA_BY_VARIABLE;
	char text[sizeof("cpus=enclosing,mem=enclosing")];
	char *line;
	size_t length;

	unsetenv(NA_ENCLOSING_VARIABLE);
	if ((!cpus && !mem) || (line = calloc(1, COMMAND_LINE_MAX + 1)) == NULL)
		return;
	length = command_line(line);
	if (!cpus || option_given(line, length, "cpu", binds_cpus))
		by_cpus = NA_BY_OPTION;
	else if (na_bind_inherited(cpus, getenv("SLURM_CPU_BIND_VERBOSE"), getenv("SLURM_CPU_BIND_TYPE"),
				   getenv("SLURM_CPU_BIND_LIST")))
		by_cpus = NA_BY_ENCLOSING_STEP;
	if (!mem || option_given(line, length, "mem", binds_memory))
		by_mem = NA_BY_OPTION;
	else if (na_bind_inherited(mem, getenv("SLURM_MEM_BIND_VERBOSE"), getenv("SLURM_MEM_BIND_TYPE"),
				   getenv("SLURM_MEM_BIND_LIST")))
		by_mem = NA_BY_ENCLOSING_STEP;
	free(line);
	snprintf(text, sizeof(text), "cpus=%s,mem=%s", words[by_cpus], words[by_mem]);
	/* Without memory the step is only aligned less well. */
	(void)setenv(NA_ENCLOSING_VARIABLE, text, 1);
}

static enum na_decider decider(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	if (at)
		for (int i = NA_BY_OPTION; i <= NA_BY_ENCLOSING_STEP; i++)
			if (strncmp(at + strlen(key), words[i], strlen(words[i])) == 0)
				return (enum na_decider)i;
	return NA_BY_OPTION;
}

void na_enclosing_read(spank_t spank, enum na_decider *cpus, enum na_decider *mem)
{
	char text[64];

	*cpus = *mem = NA_BY_OPTION;
	if (spank_getenv(spank, NA_ENCLOSING_VARIABLE, text, sizeof(text)) != ESPANK_SUCCESS)
		return;
	*cpus = decider(text, "cpus=");
	*mem = decider(text, "mem=");
}
