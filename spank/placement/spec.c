#include "spec.h"

#include <stdio.h>
#include <string.h>

#include "suggest.h"

const struct na_spec na_spec_built_in = { .smt = true, .tell = true };

const char na_spec_words[] = "on, off, strict, verbose, nic, mem=preferred|bind|interleave|local|none|"
			     "interleave-all, "
			     "cpus=slice|fair|node|all, smt=on|off, tell=on|off, nic=on|off, "
			     "steps=gpus|all, help";

const char na_spec_help[] =
	"--numa-align[=KEY[=VALUE][,...]]   run every task on the cores and memory nearest to its GPUs\n"
	"  on | off         align (also without any value), or do not\n"
	"  strict           a task that cannot be aligned fails before it starts, with the reason\n"
	"  verbose          one line per task: state, GPUs, CPUs, memory, policy, microseconds\n"
	"  mem=preferred    memory near the GPUs while there is some (default)\n"
	"  mem=bind         memory near the GPUs only; a task that needs more than fits there is killed\n"
	"  mem=interleave   page by page over the nodes of the task's GPUs\n"
	"  mem=interleave-all  the same over all nodes of the step, for a large task; never over memory\n"
	"                   of GPUs\n"
	"  mem=local        memory of the node that a thread runs on\n"
	"  mem=none         leave the memory policy alone\n"
	"  cpus=slice       the task's own share of the cores (default)\n"
	"  cpus=fair        the same, filled with the nearest idle cores up to what Slurm gave the task\n"
	"  cpus=node        every core of the step on the nodes of its GPUs, shared with other tasks\n"
	"  cpus=all         leave the CPUs alone\n"
	"  smt=on | off     use all hardware threads of a core (default), or one\n"
	"  tell=on | off    tell programs that would undo the binding to keep it (default), or not\n"
	"  nic=on | off     tell UCX and Cray MPICH to use the network cards nearest to the task's GPUs, or\n"
	"                   not (default); nic alone is nic=on\n"
	"  steps=gpus | all for sites that set on: align the steps with GPUs (default), or all; a step "
	"whose\n"
	"                   user asks is aligned either way\n"
	"  help             this text\n"
	"The environment variable NUMA_ALIGN holds your own defaults in the same words.\n";

static const char *const mem_names[] = {
	[NA_MEM_PREFERRED] = "preferred", [NA_MEM_BIND] = "bind", [NA_MEM_INTERLEAVE] = "interleave",
	[NA_MEM_LOCAL] = "local",	  [NA_MEM_NONE] = "none", [NA_MEM_INTERLEAVE_ALL] = "interleave-all",
};
static const char *const cpus_names[] = {
	[NA_CPUS_SLICE] = "slice",
	[NA_CPUS_FAIR] = "fair",
	[NA_CPUS_NODE] = "node",
	[NA_CPUS_ALL] = "all",
};
static const char *const switch_names[] = { "off", "on" };
static const char *const steps_names[] = { "gpus", "all" };

#define COUNT(names) ((int)(sizeof(names) / sizeof((names)[0])))

const char *na_mem_name(enum na_mem mem)
{
	return (int)mem < COUNT(mem_names) ? mem_names[mem] : "";
}

const char *na_cpus_name(enum na_cpus cpus)
{
	return (int)cpus < COUNT(cpus_names) ? cpus_names[cpus] : "";
}

/* The part of a text from `at` on with this `length`, without a final NUL. */
struct word {
	const char *at;
	size_t length;
};

static bool is(struct word word, const char *name)
{
	return word.length == strlen(name) && memcmp(word.at, name, word.length) == 0;
}

static bool choose(struct word value, const char *const *names, int count, int *choice)
{
	for (int i = 0; i < count; i++)
		if (is(value, names[i])) {
			*choice = i;
			return true;
		}
	return false;
}

/* Whether "key" comes before the "=" of this word; then *value is what comes after it. */
static bool has_key(struct word word, const char *key, struct word *value)
{
	const size_t length = strlen(key);

	if (word.length <= length || memcmp(word.at, key, length) != 0 || word.at[length] != '=')
		return false;
	value->at = word.at + length + 1;
	value->length = word.length - length - 1;
	return true;
}

static bool apply(struct na_spec *spec, struct word word)
{
	struct word value;
	int choice;

	if (is(word, "on") || is(word, "off"))
		spec->on = is(word, "on");
	else if (is(word, "strict"))
		spec->strict = true;
	else if (is(word, "verbose"))
		spec->verbose = true;
	else if (is(word, "nic"))
		spec->nic = true;
	else if (is(word, "help"))
		spec->help = true;
	else if (has_key(word, "mem", &value) && choose(value, mem_names, COUNT(mem_names), &choice))
		spec->mem = (enum na_mem)choice;
	else if (has_key(word, "cpus", &value) && choose(value, cpus_names, COUNT(cpus_names), &choice))
		spec->cpus = (enum na_cpus)choice;
	else if (has_key(word, "smt", &value) && choose(value, switch_names, COUNT(switch_names), &choice))
		spec->smt = choice;
	else if (has_key(word, "tell", &value) && choose(value, switch_names, COUNT(switch_names), &choice))
		spec->tell = choice;
	else if (has_key(word, "nic", &value) && choose(value, switch_names, COUNT(switch_names), &choice))
		spec->nic = choice;
	else if (has_key(word, "steps", &value) && choose(value, steps_names, COUNT(steps_names), &choice))
		spec->all_steps = choice;
	else
		return false;
	return true;
}

/* The known word that was probably meant; false if there is none. */
static bool suggest(struct word word, char *known, size_t size)
{
	static const char *const plain[] = { "on", "off", "strict", "verbose", "nic", "help" };
	static const struct {
		const char *key;
		const char *const *values;
		int count;
	} keys[] = {
		{ "mem", mem_names, COUNT(mem_names) },	      { "cpus", cpus_names, COUNT(cpus_names) },
		{ "smt", switch_names, COUNT(switch_names) }, { "tell", switch_names, COUNT(switch_names) },
		{ "nic", switch_names, COUNT(switch_names) }, { "steps", steps_names, COUNT(steps_names) },
	};

	for (int i = 0; i < COUNT(plain); i++) {
		snprintf(known, size, "%s", plain[i]);
		if (na_is_like(word.at, word.length, known))
			return true;
	}
	for (int i = 0; i < COUNT(keys); i++)
		for (int j = 0; j < keys[i].count; j++) {
			snprintf(known, size, "%s=%s", keys[i].key, keys[i].values[j]);
			if (na_is_like(word.at, word.length, known))
				return true;
		}
	return false;
}

/* Names the bad word: shortened, and without bytes that control a terminal. */
static void explain(struct word word, char *error, size_t size)
{
	char shown[41], known[41];
	size_t length = word.length < sizeof(shown) - 1 ? word.length : sizeof(shown) - 1;

	for (size_t i = 0; i < length; i++)
		shown[i] = word.at[i] >= ' ' && word.at[i] <= '~' ? word.at[i] : '?';
	shown[length] = '\0';
	if (!suggest(word, known, sizeof(known)))
		known[0] = '\0';
	snprintf(error, size, "unknown word \"%s%s\"%s%s%s; valid words are %s", shown,
		 word.length > length ? "..." : "", *known ? ", did you mean \"" : "", known,
		 *known ? "\"?" : "", na_spec_words);
}

bool na_spec_parse(struct na_spec *spec, const char *text, char *error, size_t size)
{
	struct na_spec result = *spec;

	if (!text || !*text || strcmp(text, "(null)") == 0)
		return true;
	if (strnlen(text, NA_SPEC_MAX + 1) > NA_SPEC_MAX) {
		snprintf(error, size, "longer than %d characters; valid words are %s", NA_SPEC_MAX,
			 na_spec_words);
		return false;
	}
	for (;;) {
		const struct word word = { text, strcspn(text, ",") };

		if (!apply(&result, word)) {
			explain(word, error, size);
			return false;
		}
		text += word.length;
		if (!*text)
			break;
		text++;
	}
	*spec = result;
	return true;
}

bool na_spec_request(struct na_spec *spec, const char *text, char *error, size_t size)
{
	struct na_spec result = *spec;

	result.on = true;
	if (!na_spec_parse(&result, text, error, size))
		return false;
	*spec = result;
	return true;
}
