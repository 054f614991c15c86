#include "table_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "placement/table.h"

static bool only_root_writes(const struct stat *status)
{
	return status->st_uid == 0 && !(status->st_mode & (S_IWGRP | S_IWOTH));
}

/* Opens the table, or returns -1 and writes why it cannot. */
static int open_table(const char *name, off_t *length, char *error, size_t size)
{
	const int folder = open(NA_RUN_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat status;
	int file = -1;

	if (folder < 0) {
		snprintf(error, size, "%s", strerror(errno));
		return -1;
	}
	if (fstat(folder, &status) != 0 || !only_root_writes(&status)) {
		snprintf(error, size, "the folder can be written by users other than root");
	} else {
		/* O_NONBLOCK: a fifo in its place must not block the step. */
		file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (file < 0)
			snprintf(error, size, "%s",
				 errno == ELOOP ? "it is a symbolic link" : strerror(errno));
	}
	close(folder);
	if (file < 0)
		return -1;
	if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode))
		snprintf(error, size, "it is not a regular file");
	else if (!only_root_writes(&status))
		snprintf(error, size, "it does not belong to root alone");
	else if (status.st_size > NA_TABLE_MAX_BYTES)
		snprintf(error, size, "the file is too large to be a table");
	else {
		*length = status.st_size;
		return file;
	}
	close(file);
	return -1;
}

static bool read_all(int file, char *text, size_t length, size_t *got)
{
	*got = 0;
	while (*got < length) {
		const ssize_t count = read(file, text + *got, length - *got);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return false;
		if (count == 0)
			break;
		*got += (size_t)count;
	}
	return true;
}

/* If /run is not a tmpfs, a table survives a reboot; device numbers may then have changed. */
static bool is_of_this_boot(const struct na_machine *machine)
{
	char boot[sizeof(machine->boot)] = "";
	const int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	bool same = true;

	if (file < 0 || !machine->boot[0])
		goto out;
	if (read_all(file, boot, sizeof(boot) - 1, &length)) {
		boot[strcspn(boot, "\n")] = '\0';
		same = strcmp(boot, machine->boot) == 0;
	}
out:
	if (file >= 0)
		close(file);
	return same;
}

/* The name of a device that is not the same as when the table was written, or NULL. */
static const char *changed_device(const struct na_machine *machine)
{
	for (int i = 0; i < machine->gpu_count; i++) {
		const struct na_gpu *gpu = &machine->gpus[i];
		struct stat status;

		if (!gpu->rdev || !gpu->device[0] || stat(gpu->device, &status) != 0)
			continue;
		if (((uint64_t)major(status.st_rdev) << 32 | minor(status.st_rdev)) != gpu->rdev)
			return gpu->device;
	}
	return NULL;
}

/* The text must also match this job, this boot and these devices. */
static bool is_current(const struct na_machine *machine, uint32_t job, char *error, size_t size)
{
	const char *device = changed_device(machine);

	if (machine->job != job)
		snprintf(error, size, "it is the table of job %u", machine->job);
	else if (!is_of_this_boot(machine))
		snprintf(error, size, "it is from before the last boot");
	else if (device)
		snprintf(error, size, "it is stale: %s is another device now", device);
	else
		return true;
	return false;
}

struct na_machine *na_table_read(uint32_t job, char *error, size_t size)
{
	char name[16], why[160] = "";
	struct na_machine *machine = NULL;
	char *text = NULL;
	off_t length = 0;
	size_t got = 0;
	int file;

	snprintf(name, sizeof(name), "%u", job);
	file = open_table(name, &length, why, sizeof(why));
	if (file < 0)
		goto out;
	text = malloc((size_t)length + 1);
	if (!text || !read_all(file, text, (size_t)length, &got))
		snprintf(why, sizeof(why), "%s", text ? strerror(errno) : "out of memory");
	else
		machine = na_table_parse(text, got, why, sizeof(why));
	if (machine && !is_current(machine, job, why, sizeof(why))) {
		na_machine_free(machine);
		machine = NULL;
	}
	free(text);
	close(file);
out:
	if (!machine)
		snprintf(error, size, "reading " NA_RUN_DIR "/%s: %s", name, why);
	return machine;
}
