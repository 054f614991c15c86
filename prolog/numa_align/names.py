"""Values that are one of a few words, each defined once. mypy checks them; tests compare them with C's."""

from __future__ import annotations

from typing import Literal, get_args

#: How well a task's CPUs and memory fit its GPUs, from best to worst (docs/check.md).
State = Literal["aligned", "partial", "memory-only", "unaligned"]
STATES: tuple[State, ...] = get_args(State)

#: Memory policies by the names of set_mempolicy(2), in the order of the numbers of linux/mempolicy.h.
#: ``unknown`` is a policy that only a newer kernel has.
PolicyMode = Literal[
    "default", "preferred", "bind", "interleave", "local", "preferred-many", "weighted-interleave", "unknown"
]
MODES: tuple[PolicyMode, ...] = get_args(PolicyMode)[:-1]

#: Values of ``mem=`` and ``cpus=`` in ``--numa-align``.
MemWord = Literal["preferred", "bind", "interleave", "local", "none", "interleave-all"]
MEM_WORDS: tuple[MemWord, ...] = get_args(MemWord)
CpusWord = Literal["slice", "fair", "node", "all"]
CPUS_WORDS: tuple[CpusWord, ...] = get_args(CpusWord)

#: What ``--numa-align`` accepts: words, and keys with their values.
SPEC_WORDS: tuple[str, ...] = ("on", "off", "strict", "verbose", "nic", "help")
SPEC_VALUES: dict[str, tuple[str, ...]] = {
    "mem": MEM_WORDS,
    "cpus": CPUS_WORDS,
    "smt": ("on", "off"),
    "tell": ("on", "off"),
    "nic": ("on", "off"),
    "steps": ("gpus", "all"),
}

#: What only a site can set, after the plugin's path in plugstack.conf: words, and keys of lists.
SITE_WORDS: tuple[str, ...] = ("dry", "except-users=", "except-partitions=")

#: Kinds of NUMA node. ``cpu``: CPUs and memory; ``cpu-only``: CPUs, no memory; ``memory``:
#: memory without CPUs (HBM, CXL, persistent memory); ``gpu-memory``: memory of a GPU that the
#: kernel onlined as a node (POWER9, Grace). Host memory is never placed on the last.
NodeKind = Literal["cpu", "cpu-only", "memory", "gpu-memory"]
NODE_KINDS: tuple[NodeKind, ...] = get_args(NodeKind)

#: Sources of a GPU's node, in the order in which they are asked (see `topology.locality`).
Source = Literal["override", "numa_node", "local_cpulist", "bridge", "only-node", "none"]
SOURCES: tuple[Source, ...] = get_args(Source)

#: How far a device is from a GPU (`topology.model` has them in order, for the prolog).
PathWord = Literal["PIX", "PXB", "PHB", "NODE", "SYS"]

#: Which GPUs each task of a planned step sees: all GPUs of the step, its own, or those near its CPUs.
Visible = Literal["all", "each", "closest"]
VISIBLE: tuple[Visible, ...] = get_args(Visible)

#: Why a task is not aligned (docs/audit.md): the option was not given; the site only rehearses; the program
#: has since bound itself; the user's own --cpu-bind or --mem-bind wins; fewer cores than GPUs; Slurm gave the
#: job no core near its GPUs, or too few; this user may not see enough to know.
Cause = Literal["not-asked", "rehearsed", "undone", "explicit", "few-cores", "allocated-far", "hidden"]
CAUSES: tuple[Cause, ...] = get_args(Cause)

#: The user's own defaults, in the syntax of ``--numa-align``.
OPTION = "NUMA_ALIGN"

#: Variables that a placed process finds in its environment (docs/users.md).
STATE = "NUMA_ALIGN_STATE"
GPUS = "NUMA_ALIGN_GPUS"
CPUS = "NUMA_ALIGN_CPUS"
MEMS = "NUMA_ALIGN_MEMS"
MAP = "NUMA_ALIGN_MAP"
NICS = "NUMA_ALIGN_NICS"
REASON = "NUMA_ALIGN_REASON"
#: Set for a worker that was placed inside its task; never by the plugin.
WORKER = "NUMA_ALIGN_WORKER"
#: In a rehearsal this one replaces all others: it has what they would say, and nothing was set.
DRY = "NUMA_ALIGN_DRY"
VARIABLES = (STATE, GPUS, CPUS, MEMS, MAP, NICS, REASON, WORKER)
