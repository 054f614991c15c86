#include "explicit.h"

#include <string.h>

static bool is_word(const char *word, size_t length, const char *const *names)
{
	for (; *names; names++)
		if (length == strlen(*names) && memcmp(word, *names, length) == 0)
			return true;
	return false;
}

static const char *const says_nothing[] = { "", "verbose", "v", "quiet", "q", NULL };

enum na_cpu_bind na_cpu_bind(const char *value)
{
	static const char *const none[] = { "none", "no", NULL };
	static const char *const cores[] = { "cores", "core", "threads", "thread", NULL };
	static const char *const nodes[] = { "sockets", "socket", "ldoms", "ldom", "boards", "board", NULL };
	enum na_cpu_bind found = NA_CPU_BIND_NOTHING;

	for (;;) {
		const size_t length = strcspn(value, ",");

		if (is_word(value, length, none))
			found = NA_CPU_BIND_NONE;
		else if (is_word(value, length, cores))
			found = NA_CPU_BIND_CORES;
		else if (is_word(value, length, nodes))
			found = NA_CPU_BIND_NODES;
		else if (!is_word(value, length, says_nothing))
			return NA_CPU_BIND_EXPLICIT;
		if (!value[length])
			return found;
		value += length + 1;
	}
}

enum na_mem_bind na_mem_bind(const char *value)
{
	static const char *const local[] = { "local", NULL };
	static const char *const prefer[] = { "prefer", "p", NULL };
	static const char *const sort[] = { "sort", NULL };
	bool is_local = false, is_preferred = false;

	for (;;) {
		const size_t length = strcspn(value, ",");

		if (is_word(value, length, local))
			is_local = true;
		else if (is_word(value, length, prefer))
			is_preferred = true;
		else if (!is_word(value, length, says_nothing) && !is_word(value, length, sort))
			return NA_MEM_BIND_EXPLICIT;
		if (!value[length])
			break;
		value += length + 1;
	}
	if (!is_local)
		return NA_MEM_BIND_NOTHING;
	return is_preferred ? NA_MEM_BIND_PREFER_LOCAL : NA_MEM_BIND_LOCAL;
}

static bool ends_with(const char *text, size_t *length, const char *end)
{
	const size_t size = strlen(end);

	if (*length < size || memcmp(text + *length - size, end, size) != 0)
		return false;
	*length -= size;
	return true;
}

bool na_bind_inherited(const char *value, const char *verbose, const char *type, const char *list)
{
	size_t length = strlen(value);

	if (!verbose || !type)
		return false;
	/* "prefer," and "sort," may come between them. */
	return ends_with(value, &length, list ? list : "") && ends_with(value, &length, type) &&
	       length > strlen(verbose) && strncmp(value, verbose, strlen(verbose)) == 0 &&
	       value[length - 1] == ',' && value[strlen(verbose)] == ',';
}
