/* The option's text: --numa-align[=KEY[=VALUE][,...]], NUMA_ALIGN and plugstack.conf use the same words. */
#ifndef NUMA_ALIGN_SPEC_H
#define NUMA_ALIGN_SPEC_H

#include <stdbool.h>
#include <stddef.h>

/* Longer texts are refused as a whole; the longest useful one has about 60 characters. */
#define NA_SPEC_MAX 1024

enum na_mem {
	NA_MEM_PREFERRED,
	NA_MEM_BIND,
	NA_MEM_INTERLEAVE,
	NA_MEM_LOCAL,
	NA_MEM_NONE,
	NA_MEM_INTERLEAVE_ALL
};
enum na_cpus { NA_CPUS_SLICE, NA_CPUS_FAIR, NA_CPUS_NODE, NA_CPUS_ALL };

struct na_spec {
	bool on; /* built-in: off */
	bool strict;
	bool verbose;
	bool smt; /* built-in: on */
	bool tell; /* built-in: on */
	bool nic; /* built-in: off; libraries are told which network cards are the task's */
	bool help;
	bool all_steps; /* built-in: off; the site's "on" then also covers steps without GPUs */
	enum na_mem mem;
	enum na_cpus cpus;
};

extern const struct na_spec na_spec_built_in;

/* The known words, for messages and for --numa-align=help. */
extern const char na_spec_words[];
extern const char na_spec_help[];

/*
 * Reads `text` over what `spec` already holds. A text without value (NULL, "", or "(null)", as
 * Slurm passes it on) changes nothing. For an unknown word it returns false, leaves `spec` as it was
 * and writes a sentence that names the word and the known ones.
 */
bool na_spec_parse(struct na_spec *spec, const char *text, char *error, size_t size);

/* For a request: the same, but alignment is turned on unless the text says off. */
bool na_spec_request(struct na_spec *spec, const char *text, char *error, size_t size);

/* The words after mem= and cpus=, "" for any other number; Python has the same in names.py. */
const char *na_mem_name(enum na_mem mem);
const char *na_cpus_name(enum na_cpus cpus);

#endif
