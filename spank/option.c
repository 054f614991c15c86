#include "option.h"

#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "site.h"

/* slurm_spank_init may run several times in one process, and so may the callback: set, never add. */
static struct na_site site = { .spec = { .smt = true, .tell = true } };
static char given_text[NA_SPEC_MAX + 1];
static bool given;

static bool has_value(const char *text)
{
	return text && *text && strcmp(text, "(null)") != 0;
}

/* For srun, sbatch and salloc: the words are checked before anything is submitted. */
static int check_words(const char *text)
{
	struct na_spec spec = na_spec_built_in;
	char error[400];

	if (!na_spec_request(&spec, text, error, sizeof(error))) {
		slurm_error("numa-align: %s", error);
		return ESPANK_BAD_ARG;
	}
	if (spec.help) {
		fputs(na_spec_help, stdout);
		fflush(stdout);
		exit(0);
	}
	return 0;
}

static int on_option(int value, const char *text, int remote)
{
	(void)value;
	if (!remote) {
		const int status = check_words(text);

		if (status)
			return status;
	}
	/*
	 * 22.05 calls the remote callback twice, with the words and then with "" (from the
	 * environment): an empty value does not revoke the words.
	 */
	if (remote && given && !has_value(text))
		return 0;
	given = true;
	snprintf(given_text, sizeof(given_text), "%s", has_value(text) ? text : "");
	if (has_value(text) && strnlen(text, sizeof(given_text)) == sizeof(given_text))
		snprintf(given_text, sizeof(given_text), "too long");
	return 0;
}

void na_option_register(spank_t spank)
{
	static struct spank_option option = {
		.name = (char *)"numa-align",
		.arginfo = (char *)"SPEC",
		.usage = (char *)"run every task on the cores and memory nearest to its GPUs "
				 "(--numa-align=help lists the words)",
		.has_arg = 2,
		.val = 0,
		.cb = on_option,
	};

	if (spank_option_register(spank, &option) != ESPANK_SUCCESS)
		slurm_error("numa-align: cannot register --numa-align; the option is not available");
}

void na_option_site(int count, char **arguments)
{
	char error[500];
	bool understood = true;

	site = (struct na_site){ .spec = na_spec_built_in };
	for (int i = 0; i < count; i++)
		if (!na_site_parse(&site, arguments[i], error, sizeof(error))) {
			slurm_error(
				"numa-align: plugstack.conf: %s; until that is right the site's \"on\" does "
				"not hold",
				error);
			understood = false;
		}
	/* A misspelt "on dyr" or "on exept-users=…" was not meant to align everybody. */
	if (!understood)
		site.spec.on = false;
}

/* What the user's environment turns on. */
static bool on_in(const char *text)
{
	struct na_spec spec = na_spec_built_in;
	char error[400];

	return na_spec_parse(&spec, text, error, sizeof(error)) && spec.on;
}

bool na_option_on_here(void)
{
	const char *text = getenv("NUMA_ALIGN");

	return given || site.spec.on || (text && on_in(text));
}

struct na_spec na_option_resolve(spank_t spank, bool *by_user, char *warning, size_t size)
{
	struct na_spec spec = site.spec;
	char text[NA_SPEC_MAX + 2], error[400];
	spank_err_t status = spank_getenv(spank, "NUMA_ALIGN", text, sizeof(text));

	warning[0] = '\0';
	if (status == ESPANK_NOSPACE)
		snprintf(warning, size, "NUMA_ALIGN is longer than %d characters and is ignored",
			 NA_SPEC_MAX);
	else if (status == ESPANK_SUCCESS && !na_spec_parse(&spec, text, error, sizeof(error)))
		snprintf(warning, size, "NUMA_ALIGN in the environment is ignored: %s", error);
	*by_user = given || (status == ESPANK_SUCCESS && on_in(text));
	if (given && !na_spec_request(&spec, given_text, error, sizeof(error))) {
		/* Setting _SLURM_SPANK_OPTION_... by hand bypasses srun's check. */
		snprintf(warning, size, "--numa-align: %s; taken as --numa-align", error);
		spec.on = true;
	}
	if (!*by_user && na_site_stands_down(&site, spank))
		spec.on = false;
	return spec;
}

bool na_option_given(void)
{
	return given;
}

bool na_option_site_on(void)
{
	return site.spec.on;
}

bool na_option_site_dry(void)
{
	return site.dry;
}
