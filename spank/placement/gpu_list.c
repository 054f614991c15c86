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

static bool is_number(const char *text, size_t length, int *value)
{
	int number = 0;

	if (length == 0 || length > 6)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		number = number * 10 + (text[i] - '0');
	}
	*value = number;
	return true;
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

/* Whether two entries are the same: numbers by value, names by their letters in any case. */
static bool is_same(const char *a, size_t a_length, const char *b, size_t b_length)
{
	int first, second;

	if (is_number(a, a_length, &first) && is_number(b, b_length, &second))
		return first == second;
	return a_length == b_length && strncasecmp(a, b, a_length) == 0;
}

bool na_gpu_list_repeats(const char *list)
{
	for (const char *entry = list;; entry++) {
		const size_t whole = strcspn(entry, ",");
		const char *name = entry;
		const size_t length = trimmed(&name, whole);
		int number;

		if (!is_number(name, length, &number) && !is_instance(name, length) &&
		    (length < 4 || strncasecmp(name, "GPU-", 4) != 0))
			return false;
		for (const char *other = list; other < entry; other++) {
			const size_t other_whole = strcspn(other, ",");
			const char *before = other;
			const size_t other_length = trimmed(&before, other_whole);

			if (is_same(name, length, before, other_length))
				return true;
			other += other_whole;
		}
		entry += whole;
		if (!*entry)
			return false;
	}
}

int na_gpu_list(const struct na_machine *machine, const char *list, const int *among, int among_count,
		bool of_runtime, int gpus[NA_MAX_GPUS])
{
	int count = 0;

	for (const char *entry = list;; entry++) {
		const size_t whole = strcspn(entry, ",");
		const char *name = entry;
		const size_t length = trimmed(&name, whole);
		int number, gpu;

		if (!is_number(name, length, &number))
			gpu = by_uuid(machine, name, length);
		else if (among)
			gpu = number < among_count ? among[number] : -1;
		else
			gpu = by_number(machine, number, of_runtime);
		if (gpu < 0)
			return of_runtime && !is_instance(name, length) ? count : 0;
		add_once(gpus, &count, gpu);
		entry += whole;
		if (!*entry)
			return count;
	}
}
