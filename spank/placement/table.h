/*
 * The binding table: the text that the job prolog leaves for the plugin.
 *
 * One record per line, fields separated by one space, "-" for an unknown field:
 *
 *   numa-align-table 1
 *   boot ID                                        /proc/sys/kernel/random/boot_id
 *   job ID
 *   node ID KIND MEMORY_BYTES CPUS DISTANCES       a NUMA node; distances to all nodes, in order
 *   core CPUS NODE PACKAGE LLC                     a core and its online hardware threads
 *   gpu VENDOR BDF MINOR INDEX NODE SOURCE MEMORY_NODES IN_JOB RDEV DEVICE UUID
 *   note nic NAME FABRIC PORT BDF NODE DEVICE PATHS   a card for RDMA; the class of its path to each GPU
 *   note TEXT                                      why something is missing, for people
 *   end LINES                                      lines before this one; nothing follows
 *
 * CPUS and MEMORY_NODES are in the kernel's list format, RDEV is MAJOR:MINOR of DEVICE; PATHS are PIX, PXB,
 * PHB, NODE or SYS, separated by commas, in the order of the lines of the GPUs, which come before. Cards are
 * notes because a plugin that does not know cards skips notes, but refuses any unknown word.
 * prolog/numa_align/placement/table.py writes it; tests compare the two sides. A change that an older or
 * newer plugin would not understand gets another number in the first line.
 */
#ifndef NUMA_ALIGN_TABLE_H
#define NUMA_ALIGN_TABLE_H

#include "machine.h"

#define NA_TABLE_VERSION 1
/* 8192 single-threaded cores and 1024 nodes with all their distances fit with room to spare. */
#define NA_TABLE_MAX_BYTES (8 << 20)

/*
 * Makes a machine from a table. Returns NULL and a sentence in `error` if the text is not a
 * whole table of this version; any input is safe. Free with na_machine_free().
 */
struct na_machine *na_table_parse(const char *text, size_t length, char *error, size_t size);

/* A node's KIND in the table, "" for any other number; Python has the same words in names.py. */
const char *na_node_kind_name(enum na_node_kind kind);

#endif
