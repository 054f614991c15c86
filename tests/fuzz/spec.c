/* libFuzzer: any bytes as the option's text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "placement/bitset.h"
#include "placement/spec.h"

static void check(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "does not hold: %s\n", what);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct na_spec spec = na_spec_built_in;
	char *text = malloc(size + 1), error[400] = "";
	struct na_set set, again;
	char list[128];

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (na_spec_request(&spec, text, error, sizeof(error))) {
		check(!error[0], "no message where all is well");
		check(na_mem_name(spec.mem) && spec.cpus <= NA_CPUS_ALL, "only values that exist");
	} else {
		check(memcmp(&spec, &na_spec_built_in, sizeof(spec)) == 0, "nothing changed by what is refused");
		check(strstr(error, "preferred|bind") != NULL, "the message lists the words");
		for (const char *c = error; *c; c++)
			check(*c >= ' ' && *c <= '~', "a message that can be printed");
	}
	/* The other text of a user's that is read in slurmstepd: a list of CPUs. */
	if (na_set_parse(&set, text) && na_set_format(&set, list, sizeof(list)))
		check(na_set_parse(&again, list) && na_set_equal(&set, &again), "a list means what it meant");
	free(text);
	return 0;
}
