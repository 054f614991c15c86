/* Finds and reads the table of a job, the only file that the plugin opens below /run. */
#ifndef NUMA_ALIGN_TABLE_FILE_H
#define NUMA_ALIGN_TABLE_FILE_H

#include "placement/machine.h"

#ifndef NA_RUN_DIR
#define NA_RUN_DIR "/run/numa-align"
#endif

/*
 * Reads NA_RUN_DIR/<job>. The folder and the file must belong to root and be writable by root
 * only; links are not followed. Otherwise returns NULL and a sentence in `error` (what was tried and why it
 * failed). Free with na_machine_free().
 */
struct na_machine *na_table_read(uint32_t job, char *error, size_t size);

#endif
