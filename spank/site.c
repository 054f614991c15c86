#include "site.h"

#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include "placement/suggest.h"

#define USERS "except-users="
#define PARTITIONS "except-partitions="

struct word {
	const char *at;
	size_t length;
};

static bool begins(struct word word, const char *with)
{
	return word.length >= strlen(with) && memcmp(word.at, with, strlen(with)) == 0;
}

/* Reads the list after the key; false if it does not fit. */
static bool take_list(struct word word, const char *key, char *list)
{
	const size_t length = word.length - strlen(key);

	if (length >= NA_SITE_LIST_MAX)
		return false;
	memcpy(list, word.at + strlen(key), length);
	list[length] = '\0';
	return true;
}

/* Adds a word to those that are not only the site's. */
static bool pass_on(struct word word, char *rest, size_t size)
{
	const size_t used = strlen(rest);

	if (used + word.length + 2 > size)
		return false;
	snprintf(rest + used, size - used, "%s%.*s", used ? "," : "", (int)word.length, word.at);
	return true;
}

static bool take_word(struct na_site *site, struct word word, char *rest, size_t size)
{
	if (begins(word, USERS))
		return take_list(word, USERS, site->users);
	if (begins(word, PARTITIONS))
		return take_list(word, PARTITIONS, site->partitions);
	if (begins(word, "dry") && word.length == strlen("dry")) {
		site->dry = true;
		return true;
	}
	return pass_on(word, rest, size);
}

/* The site's own word that was probably meant by one that --numa-align does not have, or NULL. */
static const char *meant(const char *argument)
{
	static const char *const own[] = { "dry", USERS, PARTITIONS };

	for (const char *at = argument; *at; at += *at == ',') {
		const size_t length = strcspn(at, ","), key = strcspn(at, "=,");

		for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
			if (na_is_like(at, key + (at[key] == '='), own[i]))
				return own[i];
		at += length;
	}
	return NULL;
}

/* For an unknown word: what was meant, else the error of --numa-align, and the site's own words. */
static void explain(const char *argument, const char *error_of_words, char *error, size_t size)
{
	const char *known = meant(argument);

	if (known)
		snprintf(error, size, "\"%.40s\": did you mean %s?", argument, known);
	else
		snprintf(error, size, "%s; and of a site dry, " USERS "LIST, " PARTITIONS "LIST",
			 error_of_words);
}

bool na_site_parse(struct na_site *site, const char *argument, char *error, size_t size)
{
	struct na_site read = *site;
	char rest[NA_SPEC_MAX + 1] = "", of_words[400];

	for (const char *at = argument; *at; at += *at == ',') {
		const struct word word = { at, strcspn(at, ",") };

		if (word.length && !take_word(&read, word, rest, sizeof(rest))) {
			snprintf(error, size, "\"%.40s...\" is too long", word.at);
			return false;
		}
		at += word.length;
	}
	if (!na_spec_parse(&read.spec, rest, of_words, sizeof(of_words))) {
		explain(argument, of_words, error, size);
		return false;
	}
	*site = read;
	return true;
}

static bool listed(const char *list, const char *name)
{
	const size_t length = strlen(name);

	for (const char *at = list; *at; at += *at == ':') {
		const size_t part = strcspn(at, ":");

		if (length && part == length && memcmp(at, name, length) == 0)
			return true;
		at += part;
	}
	return false;
}

/* The name that Slurm gives; before 23.11 a batch script's environment does not have it yet. */
static bool user_name(spank_t spank, uid_t uid, char *name, size_t size)
{
	char text[4096];
	struct passwd entry, *found = NULL;

	if (spank_getenv(spank, "SLURM_JOB_USER", name, (int)size) == ESPANK_SUCCESS)
		return true;
	if (getpwuid_r(uid, &entry, text, sizeof(text), &found) != 0 || !found)
		return false;
	return (size_t)snprintf(name, size, "%s", found->pw_name) < size;
}

static bool user_listed(const char *users, spank_t spank)
{
	char name[256], number[24];
	uid_t uid;

	if (!*users || spank_get_item(spank, S_JOB_UID, &uid) != ESPANK_SUCCESS)
		return false;
	snprintf(number, sizeof(number), "%ju", (uintmax_t)uid);
	return listed(users, number) || (user_name(spank, uid, name, sizeof(name)) && listed(users, name));
}

/*
 * Slurm's own variables first: asking NSS in every slurmstepd of a large job overloads its server. Users who
 * forge them turn their own alignment on or off, as they may.
 */
bool na_site_stands_down(const struct na_site *site, spank_t spank)
{
	char partition[256];

	if (user_listed(site->users, spank))
		return true;
	return *site->partitions &&
	       spank_getenv(spank, "SLURM_JOB_PARTITION", partition, sizeof(partition)) == ESPANK_SUCCESS &&
	       listed(site->partitions, partition);
}
