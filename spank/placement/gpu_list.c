#include "gpu_list.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *na_visible_variable(const char *vendor)
{
	static const struct {
		const char *vendor, *variable;
	} known[] = {
		{ "amd", "ROCR_VISIBLE_DEVICES" },
		{ "intel", "ZE_AFFINITY_MASK" },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(vendor, known[i].vendor) == 0)
			return known[i].variable;
	return "CUDA_VISIBLE_DEVICES";
}

const char *const *na_inner_variables(const char *vendor)
{
	static const char *const hip[] = { "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", NULL };

	return strcmp(vendor, "amd") == 0 ? hip : hip + 2;
}

bool na_gpu_list_hides_all(const char *list)
{
	list += strspn(list, " ");
	if (!*list)
		return true;
	if (strncmp(list, "-1", 2) != 0)
		return false;
	list += 2;
	list += strspn(list, " ");
	return !*list || *list == ',';
}

static size_t trimmed(const char **entry, size_t length)
{
	while (length && **entry == ' ') {
		(*entry)++;
		length--;
	}
	while (length && (*entry)[length - 1] == ' ')
		length--;
	return length;
}

/* By Slurm's number; a runtime's number counts by address if Slurm numbers no GPU. */
static int by_number(const struct na_machine *machine, int number, bool of_runtime)
{
	bool numbered = false;

	if (number < machine->gpu_count && machine->gpus[number].index == number)
		return number; /* the usual case, which saves a search per entry */
	for (int i = 0; i < machine->gpu_count; i++) {
		if (machine->gpus[i].index == number)
			return i;
		numbered |= machine->gpus[i].index >= 0;
	}
	return of_runtime && !numbered && number < machine->gpu_count ? number : -1;
}

/* CUDA accepts any unique beginning of a UUID; MIG-GPU-<uuid>/x/y names the GPU that has the instance. */
static int by_uuid(const struct na_machine *machine, const char *name, size_t length)
{
	const char *slash;
	int found = -1;

	if (length > 8 && strncasecmp(name, "MIG-GPU-", 8) == 0) {
		name += 4;
		length -= 4;
	}
	slash = memchr(name, '/', length);
	if (slash)
		length = (size_t)(slash - name);
	for (int i = 0; i < machine->gpu_count && length > 4; i++) {
		if (strncasecmp(machine->gpus[i].uuid, name, length) != 0)
			continue;
		if (found >= 0)
			return -1;
		found = i;
	}
	return found;
}

static void add_once(int gpus[NA_MAX_GPUS], int *count, int gpu)
{
	for (int i = 0; i < *count; i++)
		if (gpus[i] == gpu)
			return;
	if (*count < NA_MAX_GPUS)
		gpus[(*count)++] = gpu;
}

static bool is_instance(const char *name, size_t length)
{
	return length >= 4 && strncasecmp(name, "MIG-", 4) == 0;
}

/* An entry of a list: a name, or a number that is not below 0. */
struct entry {
	const char *name;
	size_t length;
	int number;
};

static bool is_blank(char letter)
{
	return letter == ' ' || (letter >= '\t' && letter <= '\r');
}

/* The number with which an entry begins, as strtol() reads it; -1 for none, and below 0. */
static int leading_number(const char *text, size_t length)
{
	size_t at = 0, digits = 0;
	int number = 0;
	bool negative;

	while (at < length && is_blank(text[at]))
		at++;
	negative = at < length && text[at] == '-';
	if (at < length && (text[at] == '-' || text[at] == '+'))
		at++;
	for (; at < length && text[at] >= '0' && text[at] <= '9'; at++) {
		if (++digits > 6)
			return -1;
		number = number * 10 + (text[at] - '0');
	}
	return digits == 0 || (negative && number) ? -1 : number;
}

/*
 * So CUDA's driver reads an entry (580.159, tried on two H100 cards): blanks and a sign before a number do not
 * matter, nor does what follows it; a name begins at once, in capitals, and ends with its UUID. False if it is
 * neither, where the list ends.
 */
static bool read_runtime_entry(const char *text, size_t whole, struct entry *entry)
{
	enum { UUID_LENGTH = 40 }; /* GPU- and the 36 characters of a UUID */

	*entry = (struct entry){ text, whole, leading_number(text, whole) };
	if (entry->number >= 0)
		return true;
	while (entry->length && is_blank(text[entry->length - 1]))
		entry->length--;
	if (strncmp(text, "GPU-", 4) == 0 && entry->length > UUID_LENGTH)
		entry->length = UUID_LENGTH;
	return strncmp(text, "GPU-", 4) == 0 || strncmp(text, "MIG-", 4) == 0;
}

/* Slurm's own lists have nothing but its numbers, or UUIDs. */
static bool read_slurm_entry(const char *text, size_t whole, struct entry *entry)
{
	*entry = (struct entry){ text, whole, -1 };
	entry->length = trimmed(&entry->name, whole);
	if (strspn(entry->name, "0123456789") == entry->length)
		entry->number = leading_number(entry->name, entry->length);
	return true;
}

/* Whether two entries are the same: numbers by value, names by their letters in any case. */
static bool is_same(const struct entry *a, const struct entry *b)
{
	if (a->number >= 0 || b->number >= 0)
		return a->number == b->number;
	return a->length == b->length && strncasecmp(a->name, b->name, a->length) == 0;
}

static bool is_alike(const struct entry *a, const struct entry *b)
{
	return (a->number < 0) == (b->number < 0);
}

bool na_gpu_list_repeats(const char *list)
{
	struct entry first = { 0 }, one, before;

	for (const char *text = list;; text++) {
		const size_t whole = strcspn(text, ",");

		if (!read_runtime_entry(text, whole, &one))
			return false;
		if (text == list)
			first = one;
		if (!is_alike(&one, &first))
			return false;
		for (const char *other = list; other < text; other++) {
			const size_t other_whole = strcspn(other, ",");

			if (read_runtime_entry(other, other_whole, &before) && is_same(&one, &before))
				return true;
			other += other_whole;
		}
		text += whole;
		if (!*text)
			return false;
	}
}

int na_gpu_list(const struct na_machine *machine, const char *list, const int *among, int among_count,
		bool of_runtime, int gpus[NA_MAX_GPUS])
{
	/* CUDA's entries are all numbers or all names; ROCm's may be mixed. */
	const bool alike = of_runtime && machine->gpu_count && strcmp(machine->gpus[0].vendor, "nvidia") == 0;
	struct entry first = { 0 }, one;
	int count = 0;

	for (const char *text = list;; text++) {
		const size_t whole = strcspn(text, ",");
		int gpu;

		if (!(of_runtime ? read_runtime_entry : read_slurm_entry)(text, whole, &one))
			return count;
		if (text == list)
			first = one;
		if (alike && !is_alike(&one, &first))
			return count;
		if (one.number < 0)
			gpu = by_uuid(machine, one.name, one.length);
		else if (among)
			gpu = one.number < among_count ? among[one.number] : -1;
		else
			gpu = by_number(machine, one.number, of_runtime);
		if (gpu < 0)
			return of_runtime && !is_instance(one.name, one.length) ? count : 0;
		add_once(gpus, &count, gpu);
		text += whole;
		if (!*text)
			return count;
	}
}
