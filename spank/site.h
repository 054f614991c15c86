/* The site's words after the plugin's path in plugstack.conf: those of --numa-align, and its own. */
#ifndef NUMA_ALIGN_SITE_H
#define NUMA_ALIGN_SITE_H

#include <slurm/spank.h>
#include <stdbool.h>

#include "placement/spec.h"

/* More than any list of users needs; a longer one is refused as a whole. */
#define NA_SITE_LIST_MAX 4096

struct na_site {
	struct na_spec spec;
	bool dry; /* a rehearsal: if only the site asked, decide but set nothing */
	/* "NAME:NAME", users also by number: the site's "on" does not apply to these */
	char users[NA_SITE_LIST_MAX];
	char partitions[NA_SITE_LIST_MAX];
};

/* Reads one argument into `site`. If it is wrong: false, with a sentence, and nothing changed. */
bool na_site_parse(struct na_site *site, const char *argument, char *error, size_t size);

/* In slurmstepd: whether this job's user or partition is left alone. */
bool na_site_stands_down(const struct na_site *site, spank_t spank);

#endif
