#include "table.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nics.h"

#define NIC_RECORD "note nic "
#define MAX_FIELDS 13

/* The text being read: a private copy, cut into lines and fields in place. */
struct reader {
	struct na_machine *machine;
	char *next; /* the next byte to read */
	int line; /* number of the last line read, from 1 */
	int nodes, cores, gpus, nics; /* read so far */
	bool boot, job;
	char *error;
	size_t error_size;
};

static bool refuse(struct reader *reader, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool refuse(struct reader *reader, const char *format, ...)
{
	char what[120];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	snprintf(reader->error, reader->error_size, "line %d: %s", reader->line, what);
	return false;
}

/* The next line without its newline; NULL at the end. A last line without newline is incomplete. */
static char *next_line(struct reader *reader)
{
	char *line = reader->next;
	char *end = strchr(line, '\n');

	if (!end)
		return NULL;
	*end = '\0';
	reader->next = end + 1;
	reader->line++;
	return line;
}

static int split(char *line, char *fields[MAX_FIELDS])
{
	int count = 0;

	while (count < MAX_FIELDS) {
		fields[count++] = line;
		line = strchr(line, ' ');
		if (!line)
			break;
		*line++ = '\0';
	}
	return count;
}

/* A decimal number in low..high; "-" is `missing` if that is allowed (below low). */
static bool number(const char *text, long long low, long long high, long long missing, long long *value)
{
	char *end;

	if (strcmp(text, "-") == 0 && missing < low) {
		*value = missing;
		return true;
	}
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoll(text, &end, 10);
	return !errno && !*end && *value >= low && *value <= high;
}

static bool integer(const char *text, int low, int high, int *value)
{
	long long wide;

	if (!number(text, low, high, -1, &wide))
		return false;
	*value = (int)wide;
	return true;
}

static bool copy_word(char *to, size_t size, const char *text)
{
	size_t length = strlen(text);

	if (strcmp(text, "-") == 0)
		length = 0;
	if (length >= size)
		return false;
	for (size_t i = 0; i < length; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	memcpy(to, text, length);
	to[length] = '\0';
	return true;
}

/* Only files below /dev are ever opened or asked about. */
static bool copy_device(char *to, size_t size, const char *text)
{
	return copy_word(to, size, text) && (!to[0] || (strncmp(to, "/dev/", 5) == 0 && !strstr(to, "..")));
}

static const char *const kinds[] = {
	[NA_NODE_CPU] = "cpu",
	[NA_NODE_CPU_ONLY] = "cpu-only",
	[NA_NODE_MEMORY] = "memory",
	[NA_NODE_GPU_MEMORY] = "gpu-memory",
};

const char *na_node_kind_name(enum na_node_kind kind)
{
	return (size_t)kind < sizeof(kinds) / sizeof(kinds[0]) ? kinds[kind] : "";
}

static bool read_kind(const char *text, enum na_node_kind *kind)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(text, kinds[i]) == 0) {
			*kind = (enum na_node_kind)i;
			return true;
		}
	}
	return false;
}

static bool read_distances(struct reader *reader, char *text)
{
	struct na_machine *machine = reader->machine;
	uint8_t *row = machine->distance + (size_t)reader->nodes * (size_t)machine->node_count;

	for (int i = 0; i < machine->node_count; i++) {
		char *comma = strchr(text, ',');
		int value;

		if (!comma != (i == machine->node_count - 1))
			return refuse(reader, "a node has as many distances as there are nodes");
		if (comma)
			*comma = '\0';
		if (!integer(text, 0, NA_DISTANCE_UNKNOWN, &value) || value < 0)
			return refuse(reader, "a distance is a number from 0 to 255");
		row[i] = (uint8_t)value;
		text = comma ? comma + 1 : text;
	}
	return true;
}

static bool read_node(struct reader *reader, char **field)
{
	struct na_node *node = &reader->machine->nodes[reader->nodes];
	long long memory;

	if (!integer(field[1], 0, NA_MAX_NODES - 1, &node->id) || node->id < 0)
		return refuse(reader, "not a node number");
	if (reader->nodes && node->id <= node[-1].id)
		return refuse(reader, "nodes are not in ascending order");
	if (!read_kind(field[2], &node->kind))
		return refuse(reader, "not a kind of node");
	if (!number(field[3], 0, LLONG_MAX, 0, &memory))
		return refuse(reader, "not a size of memory");
	node->memory_bytes = (uint64_t)memory;
	if (!na_set_parse(&node->cpus, field[4]))
		return refuse(reader, "not a list of CPUs");
	if (!read_distances(reader, field[5]))
		return false;
	reader->nodes++;
	return true;
}

/* Node records come before those that refer to them, so that references can be checked at once. */
static bool read_node_name(struct reader *reader, const char *text, int *position)
{
	int id;

	if (!integer(text, 0, NA_MAX_NODES - 1, &id))
		return refuse(reader, "not a node number");
	*position = id < 0 ? -1 : na_node_position(reader->machine, id);
	if (id >= 0 && (*position < 0 || *position >= reader->nodes))
		return refuse(reader, "names a node that is not in the table");
	return true;
}

static bool read_core(struct reader *reader, char **field)
{
	struct na_core *core = &reader->machine->cores[reader->cores];
	struct na_set cpus;

	if (!na_set_parse(&cpus, field[1]) || na_set_empty(&cpus))
		return refuse(reader, "not a list of CPUs");
	if (na_set_meets(&cpus, &reader->machine->cpus))
		return refuse(reader, "a CPU is in two cores");
	for (int cpu = na_set_next(&cpus, 0); cpu >= 0; cpu = na_set_next(&cpus, cpu + 1)) {
		if (core->threads == NA_MAX_SMT)
			return refuse(reader, "a core with more than %d CPUs", NA_MAX_SMT);
		core->cpu[core->threads++] = (uint16_t)cpu;
	}
	na_set_or(&reader->machine->cpus, &cpus);
	if (!read_node_name(reader, field[2], &core->node))
		return false;
	if (!integer(field[3], 0, INT_MAX, &core->package) ||
	    !integer(field[4], 0, NA_SET_BITS - 1, &core->llc))
		return refuse(reader, "not a package or cache number");
	reader->cores++;
	return true;
}

static bool read_rdev(const char *text, uint64_t *rdev)
{
	unsigned major, minor;
	char rest;

	*rdev = 0;
	if (strcmp(text, "-") == 0)
		return true;
	if (sscanf(text, "%9u:%9u%c", &major, &minor, &rest) != 2)
		return false;
	*rdev = (uint64_t)major << 32 | minor;
	return true;
}

static bool read_in_job(const char *text, int *in_job)
{
	if (strcmp(text, "yes") == 0)
		*in_job = 1;
	else if (strcmp(text, "no") == 0)
		*in_job = 0;
	else if (strcmp(text, "-") == 0)
		*in_job = -1;
	else
		return false;
	return true;
}

static bool read_gpu(struct reader *reader, char **field)
{
	struct na_gpu *gpu = &reader->machine->gpus[reader->gpus];

	if (!copy_word(gpu->vendor, sizeof(gpu->vendor), field[1]) ||
	    !copy_word(gpu->bdf, sizeof(gpu->bdf), field[2]) ||
	    !copy_word(gpu->uuid, sizeof(gpu->uuid), field[11]))
		return refuse(reader, "a name is too long or not printable");
	if (!integer(field[3], 0, INT_MAX, &gpu->minor) || !integer(field[4], 0, INT_MAX, &gpu->index))
		return refuse(reader, "not a minor or index");
	if (!read_node_name(reader, field[5], &gpu->node))
		return false;
	/* field[6], the source of the GPU's node, is for people. */
	if (!na_set_parse(&gpu->memory_nodes, field[7]))
		return refuse(reader, "not a list of nodes");
	if (!read_in_job(field[8], &gpu->in_job) || !read_rdev(field[9], &gpu->rdev))
		return refuse(reader, "not a membership or device number");
	if (!copy_device(gpu->device, sizeof(gpu->device), field[10]))
		return refuse(reader, "not a device file");
	reader->gpus++;
	return true;
}

static bool read_fabric(const char *text, enum na_fabric *fabric)
{
	for (int i = 0; i < NA_FABRICS; i++) {
		*fabric = (enum na_fabric)i;
		if (strcmp(text, na_fabric_name(*fabric)) == 0)
			return true;
	}
	return false;
}

static bool read_path(const char *text, size_t length, uint8_t *path)
{
	for (int i = 0; i < NA_PATHS; i++) {
		const char *name = na_path_name((enum na_path)i);

		*path = (uint8_t)i;
		if (strlen(name) == length && memcmp(text, name, length) == 0)
			return true;
	}
	return false;
}

/* All GPUs have been read by now: the paths are in their order. */
static bool read_paths(struct reader *reader, const char *text)
{
	struct na_machine *machine = reader->machine;

	for (int i = 0; i < machine->gpu_count; i++) {
		const size_t length = strcspn(text, ",");
		const bool last = i == machine->gpu_count - 1;

		if (reader->gpus < machine->gpu_count || (text[length] == '\0') != last ||
		    !read_path(text, length, &machine->gpus[i].path[reader->nics]))
			return false;
		text += length + !last;
	}
	return true;
}

static bool read_nic(struct reader *reader, char **field)
{
	struct na_nic *nic = &reader->machine->nics[reader->nics];

	if (!copy_word(nic->name, sizeof(nic->name), field[2]) || !nic->name[0] || strchr(nic->name, ',') ||
	    !copy_word(nic->bdf, sizeof(nic->bdf), field[5]))
		return refuse(reader, "a name is missing, too long or not printable");
	if (!read_fabric(field[3], &nic->fabric) || !integer(field[4], 0, UINT8_MAX, &nic->port))
		return refuse(reader, "not a fabric or port");
	if (!read_node_name(reader, field[6], &nic->node))
		return false;
	if (!copy_device(nic->device, sizeof(nic->device), field[7]))
		return refuse(reader, "not a device file");
	if (!read_paths(reader, field[8]))
		return refuse(reader, "a card has a path to each GPU, and comes after them");
	reader->nics++;
	return true;
}

static bool is_nic(const char *line)
{
	return strncmp(line, NIC_RECORD, strlen(NIC_RECORD)) == 0;
}

static bool read_record(struct reader *reader, char *line)
{
	struct na_machine *machine = reader->machine;
	char *field[MAX_FIELDS];
	long long job;
	int count;

	if (strncmp(line, "note ", 5) == 0 && !is_nic(line)) {
		snprintf(machine->note, sizeof(machine->note), "%s", line + 5);
		for (char *c = machine->note; *c; c++)
			if (*c < ' ' || *c > '~')
				*c = '?';
		return true;
	}
	count = split(line, field);
	if (strcmp(field[0], "node") == 0 && count == 6)
		return read_node(reader, field);
	if (strcmp(field[0], "core") == 0 && count == 5)
		return read_core(reader, field);
	if (strcmp(field[0], "gpu") == 0 && count == 12)
		return read_gpu(reader, field);
	if (strcmp(field[0], "note") == 0 && count == 9)
		return read_nic(reader, field);
	if (strcmp(field[0], "boot") == 0 && count == 2 && !reader->boot) {
		reader->boot = true;
		return copy_word(machine->boot, sizeof(machine->boot), field[1]) ||
		       refuse(reader, "not a boot id");
	}
	if (strcmp(field[0], "job") == 0 && count == 2 && !reader->job) {
		reader->job = true;
		/* A federation puts the cluster's number into the upper bits of a job id. */
		if (!number(field[1], 0, UINT32_MAX, 0, &job))
			return refuse(reader, "not a job id");
		machine->job = (uint32_t)job;
		return true;
	}
	return refuse(reader, "not a record of a binding table");
}

/* How many lines from here on begin with this word. */
static int count_records(const char *line, const char *word)
{
	const size_t length = strlen(word);
	int count = 0;

	while (line && *line) {
		if (strncmp(line, word, length) == 0)
			count++;
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	return count;
}

static bool make_room(struct reader *reader)
{
	struct na_machine *machine = reader->machine;
	size_t nodes, cores, gpus, nics;

	machine->node_count = count_records(reader->next, "node ");
	machine->core_count = count_records(reader->next, "core ");
	machine->gpu_count = count_records(reader->next, "gpu ");
	machine->nic_count = count_records(reader->next, NIC_RECORD);
	if (machine->node_count > NA_MAX_NODES || machine->core_count > NA_MAX_CORES ||
	    machine->gpu_count > NA_MAX_GPUS || machine->nic_count > NA_MAX_NICS)
		return refuse(reader, "more nodes, cores, GPUs or cards than any machine has");
	if (!machine->node_count || !machine->core_count)
		return refuse(reader, "no NUMA node or no core");
	nodes = (size_t)machine->node_count;
	cores = (size_t)machine->core_count;
	gpus = (size_t)machine->gpu_count;
	nics = (size_t)machine->nic_count;
	machine->nodes = calloc(nodes, sizeof(*machine->nodes));
	machine->distance = calloc(nodes * nodes, sizeof(*machine->distance));
	machine->cores = calloc(cores, sizeof(*machine->cores));
	machine->gpus = calloc(gpus ? gpus : 1, sizeof(*machine->gpus));
	machine->nics = calloc(nics ? nics : 1, sizeof(*machine->nics));
	if (!machine->nodes || !machine->distance || !machine->cores || !machine->gpus || !machine->nics)
		return refuse(reader, "out of memory");
	return true;
}

static bool read_header(struct reader *reader)
{
	char *line = next_line(reader);
	char expected[40];

	snprintf(expected, sizeof(expected), "numa-align-table %d", NA_TABLE_VERSION);
	if (line && strcmp(line, expected) == 0)
		return true;
	reader->line = 1;
	if (line && strncmp(line, "numa-align-table ", 17) == 0)
		return refuse(reader,
			      "a table of another version (this is %d): start the job again, or let root "
			      "run its prolog again",
			      NA_TABLE_VERSION);
	return refuse(reader, "not a binding table");
}

static bool read_all(struct reader *reader)
{
	char expected[24];
	char *line;

	while ((line = next_line(reader)) != NULL) {
		snprintf(expected, sizeof(expected), "end %d", reader->line - 1);
		if (strcmp(line, expected) != 0) {
			if (!read_record(reader, line))
				return false;
			continue;
		}
		if (*reader->next)
			return refuse(reader, "something follows the end");
		if (!reader->boot || !reader->job)
			return refuse(reader, "records are missing");
		return true;
	}
	return refuse(reader, "the table is cut off");
}

struct na_machine *na_table_parse(const char *text, size_t length, char *error, size_t size)
{
	struct reader reader = { .error = error, .error_size = size };
	char *copy = NULL;
	bool whole = false;

	if (!text || !length || length > NA_TABLE_MAX_BYTES || memchr(text, '\0', length)) {
		snprintf(error, size, "%s", !length ? "it is empty" : "not a binding table");
		return NULL;
	}
	copy = malloc(length + 1);
	reader.machine = calloc(1, sizeof(*reader.machine));
	if (copy && reader.machine) {
		memcpy(copy, text, length);
		copy[length] = '\0';
		reader.next = copy;
		whole = read_header(&reader) && make_room(&reader) && read_all(&reader) &&
			(na_machine_finish(reader.machine) || refuse(&reader, "out of memory"));
	} else {
		snprintf(error, size, "out of memory");
	}
	free(copy);
	if (!whole) {
		na_machine_free(reader.machine);
		return NULL;
	}
	return reader.machine;
}
