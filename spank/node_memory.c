#include "node_memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "placement/machine.h"

/* An attribute of sysfs has at most a page; meminfo has less than two kilobytes (Linux 6.18). */
#define MEMINFO_MAX 4096

/* Kilobytes in the line "Node 0 NAME:   N kB", 0 if there is none. `name` is " NAME:". */
static uint64_t line_kb(const char *text, const char *name)
{
	const char *line = strstr(text, name);

	return line ? strtoull(line + strlen(name), NULL, 10) : 0;
}

static bool read_one(int node, struct na_node_memory *memory)
{
	char path[64], text[MEMINFO_MAX + 1];
	uint64_t cache, busy;
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	length = read(fd, text, MEMINFO_MAX);
	close(fd);
	if (length <= 0)
		return false;
	text[length] = '\0';
	if (!strstr(text, " MemFree:"))
		return false;
	cache = line_kb(text, " Active(file):") + line_kb(text, " Inactive(file):");
	busy = line_kb(text, " Dirty:") + line_kb(text, " Writeback:") + line_kb(text, " Mapped:");
	memory->free_mb += line_kb(text, " MemFree:") >> 10;
	memory->clean_mb += (cache > busy ? cache - busy : 0) >> 10;
	return true;
}

bool na_node_memory_read(const struct na_set *nodes, struct na_node_memory *memory)
{
	int found = 0;

	memset(memory, 0, sizeof(*memory));
	for (int node = 0; node < NA_SET_BITS && found < NA_MAX_NODES; node++) {
		if (!na_set_has(nodes, node))
			continue;
		if (!read_one(node, memory))
			return false;
		found++;
	}
	return found > 0;
}
