/* A node of the cluster in memory: the contents of the binding table. */
#ifndef NUMA_ALIGN_MACHINE_H
#define NUMA_ALIGN_MACHINE_H

#include <stdint.h>

#include "bitset.h"

/* Limits: a table that exceeds one is refused as a whole. */
#define NA_MAX_NODES 1024 /* CONFIG_NODES_SHIFT is at most 10 */
#define NA_MAX_CORES NA_SET_BITS
#define NA_MAX_SMT 16 /* POWER has 8 */
#define NA_MAX_GPUS 256
#define NA_MAX_NICS 64 /* a set of them is one word */
#define NA_MAX_TASKS 4096
/* Packages beyond this number count as one; the most that was seen is a VM with one package for each CPU. */
#define NA_MAX_PACKAGES 1024

#define NA_DISTANCE_UNKNOWN 255 /* the SLIT's value for an unreachable node */

enum na_node_kind {
	NA_NODE_CPU, /* CPUs and memory */
	NA_NODE_CPU_ONLY, /* CPUs, no memory */
	NA_NODE_MEMORY, /* memory, no CPUs: HBM, CXL, persistent memory */
	NA_NODE_GPU_MEMORY, /* memory of a GPU (POWER9, Grace): never chosen */
};

struct na_node {
	int id; /* N of /sys/devices/system/node/nodeN; there are gaps */
	enum na_node_kind kind;
	uint64_t memory_bytes;
	struct na_set cpus; /* of its cores */
	bool has_cpus;
	bool has_gpu; /* some GPU of the machine is attached to it, whoever uses it */
	/* Those of its cores; without cores, those of the nearest nodes that have some. */
	uint64_t packages[NA_MAX_PACKAGES / 64];
};

struct na_core {
	int node; /* position in nodes[], -1 unknown */
	int package; /* physical_package_id, -1 unknown */
	int llc; /* lowest CPU that shares the last-level cache */
	int threads; /* online hardware threads */
	uint16_t cpu[NA_MAX_SMT]; /* ascending */
};

/* Cards reach each other only within one fabric. */
enum na_fabric { NA_INFINIBAND, NA_ROCE, NA_IWARP, NA_EFA, NA_SLINGSHOT, NA_FABRICS };

/* How far a card is from a GPU, in the words of nvidia-smi topo, nearest first. */
enum na_path { NA_PATH_PIX, NA_PATH_PXB, NA_PATH_PHB, NA_PATH_NODE, NA_PATH_SYS, NA_PATHS };

/* A network card that can do RDMA now: its port is up, and it is neither a virtual function nor in a bond. */
struct na_nic {
	char name[64]; /* mlx5_0, cxi0 */
	char bdf[24];
	char device[64]; /* the file that a program opens to use it, "" unknown */
	enum na_fabric fabric;
	int port; /* the lowest that is active, -1 if it has no ports */
	int node; /* position in nodes[], -1 unknown */
};

/* A set of cards: bit N is nics[N]. */
typedef uint64_t na_nics;
#define NA_NIC(nic) (UINT64_C(1) << (nic))

struct na_gpu {
	char vendor[24];
	char bdf[24];
	char uuid[64]; /* "" unknown */
	char device[64]; /* "" unknown, otherwise below /dev/ */
	uint64_t rdev; /* st_rdev of the device file when the table was written, 0 unknown */
	int minor; /* -1 unknown */
	int index; /* Slurm's gres index, -1 unknown */
	int node; /* position in nodes[], -1 unknown */
	int in_job; /* whether the job has it: 1, 0; -1 unknown */
	struct na_set memory_nodes; /* node ids */
	uint8_t path[NA_MAX_NICS]; /* enum na_path to each card */
};

struct na_machine {
	int node_count, core_count, gpu_count, nic_count;
	int package_count;
	struct na_node *nodes; /* ascending id */
	uint8_t *distance; /* node_count x node_count */
	struct na_core *cores; /* ordered by node, last-level cache, first CPU: neighbours are near */
	struct na_gpu *gpus; /* ascending PCI address, the order in which CUDA counts */
	struct na_nic *nics; /* in the order of the table */
	struct na_set cpus; /* of all cores */
	uint32_t job;
	char boot[40];
	char note[160]; /* why the prolog could not find GPUs, "" otherwise */
};

/* SLIT distance between two positions in nodes[]; unknown if one is -1. */
static inline int na_distance(const struct na_machine *machine, int from, int to)
{
	if (from < 0 || to < 0)
		return NA_DISTANCE_UNKNOWN;
	return machine->distance[from * machine->node_count + to];
}

/*
 * Whether two nodes are one place: in one package, and at a SLIT distance below 20, as nodes of one
 * package are. A virtual machine's two nodes in one socket, at distance 20, are two places.
 */
bool na_same_place(const struct na_machine *machine, int home, int node);

/*
 * How far the cores of `node` are from something on `home` (positions; `home` is known).
 * A node is nearest to itself, whatever the firmware's table says; a node of the same place is
 * always nearer than one of another; apart from that the SLIT decides. An unknown node is
 * farthest. Ranks are below NA_RANKS.
 */
#define NA_RANK_OTHER_PLACE 257
#define NA_RANKS 513
int na_rank(const struct na_machine *machine, int home, int node);

/* Adds the CPUs of `node` itself, or, if it has none, those of the nearest nodes that have some. */
void na_own_cpus(const struct na_machine *machine, int node, struct na_set *cpus);

/*
 * Adds the CPUs that are local to a GPU on `node`: its own, and those of the nodes of the same place to
 * which no GPU of the machine is attached. These belong to no other GPU: on a package of four nodes and two
 * GPUs, each GPU has the cores of two.
 */
void na_local_cpus(const struct na_machine *machine, int node, struct na_set *cpus);

/*
 * Sorts cores and GPUs and derives what follows from the rest: the nodes' CPUs and packages. Call
 * it when everything is filled in; false without memory.
 */
bool na_machine_finish(struct na_machine *machine);

int na_node_position(const struct na_machine *machine, int id);
void na_machine_free(struct na_machine *machine);

#endif
