"""Whether a task is aligned: the kernel's report on the process against the topology. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

from ..cpulist import format_cpulist
from ..names import State
from ..topology.model import Gpu, Topology
from .node_memory import NodeMemory
from .state import ProcessState

#: The share of its memory that has to be on the right nodes. The kernel touches a few pages
#: while it starts the program (arguments, environment), before any policy applies.
PAGES_NEEDED = 0.95


@dataclass(frozen=True)
class Verdict:
    """The state of one task.

    ``cpu_nodes``: nodes of its CPUs. ``gpu_nodes``: nodes of its GPUs. ``near_bytes`` of
    ``bytes`` are on the memory nodes of its GPUs (without GPUs: of its CPUs). ``state``:
    aligned, partial, memory-only or unaligned; ``reason``: None if aligned. ``local`` are the CPUs that
    are local to its GPUs.
    """

    cpu_nodes: tuple[int, ...]
    gpu_nodes: tuple[int, ...]
    bytes: int
    near_bytes: int
    state: State
    reason: Optional[str]
    local: frozenset[int]


def nodes_of(cpus: Sequence[int], topology: Topology) -> tuple[int, ...]:
    """The NUMA nodes of these CPUs, ascending."""
    wanted = set(cpus)
    return tuple(node.id for node in topology.nodes if wanted.intersection(node.cpus))


class Places:
    """The nodes of CPUs and the CPUs local to GPUs, each worked out once: thousands of processes have few.

    Of one topology, which does not change: who reads the machine again takes a new one.
    """

    def __init__(self, topology: Topology) -> None:
        """``topology`` is the machine of which this tells."""
        self._topology = topology
        self._nodes: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._local: dict[tuple[str, ...], frozenset[int]] = {}

    def nodes_of(self, cpus: tuple[int, ...]) -> tuple[int, ...]:
        """As the function of this name."""
        if cpus not in self._nodes:
            self._nodes[cpus] = nodes_of(cpus, self._topology)
        return self._nodes[cpus]

    def local_cpus(self, gpus: Sequence[Gpu]) -> frozenset[int]:
        """As the function of this name; none without GPUs."""
        names = tuple(gpu.bdf for gpu in gpus)
        if names not in self._local:
            self._local[names] = _local_cpus(gpus, self._topology)
        return self._local[names]


def _local_cpus(gpus: Sequence[Gpu], topology: Topology) -> frozenset[int]:
    if not gpus:
        return frozenset()
    from ..placement.claim import local_cpus  # noqa: PLC0415 - compiled code, only for processes with GPUs

    return local_cpus(topology, gpus)


def _cpu_state(cpus: set[int], local: frozenset[int]) -> tuple[State, Optional[str]]:
    remote = len(cpus - local)
    if not remote:
        return "aligned", None
    if remote == len(cpus):
        return "memory-only", "none of its CPUs is local to its GPUs"
    return "partial", f"{remote} of {len(cpus)} CPUs are not local to its GPUs"


def _gpu_memory_of_policy(state: ProcessState, topology: Topology) -> tuple[int, ...]:
    """The nodes of GPU memory over which it interleaves, as by `numactl --interleave=all` on Grace."""
    if state.policy.mode not in ("interleave", "weighted-interleave"):
        return ()
    kinds = {node.id: node.kind for node in topology.nodes if node.memory_bytes}
    return tuple(node for node in state.policy.nodes if kinds.get(node) == "gpu-memory")


#: A function that reads how full nodes are; for a recorded process it returns nothing.
AskNodes = Callable[[Iterable[int]], Sequence[NodeMemory]]


def _nobody(nodes: Iterable[int]) -> Sequence[NodeMemory]:
    return ()


def _cause(remote: int, memories: Sequence[NodeMemory]) -> str:
    """Why memory is elsewhere, if the near nodes still show it: they have less free than that."""
    if not memories or sum(memory.free for memory in memories) >= remote:
        return ""
    each = "; ".join(
        f"node {memory.node} has {memory.free >> 20} MiB free and {memory.clean >> 20} MiB of page cache "
        "that can make room"
        for memory in memories
    )
    return f" (now {each})"


def judge(
    state: ProcessState,
    gpus: Sequence[Gpu],
    topology: Topology,
    ask_nodes: AskNodes = _nobody,
    places: Optional[Places] = None,
) -> Verdict:
    """Judge a process that uses ``gpus`` (none: it has no GPU).

    Nodes are asked how full they are only if memory is elsewhere. ``places`` are those of the topology, for
    who judges many processes.
    """
    places = places or Places(topology)
    local = places.local_cpus(gpus)
    cpu_nodes = places.nodes_of(state.cpus)
    local_nodes = {node for gpu in gpus for node in gpu.memory_nodes} if gpus else set(cpu_nodes)
    by_node = state.bytes_by_node
    total = sum(by_node.values())
    near_bytes = sum(size for node, size in by_node.items() if node in local_nodes)
    word: State = "aligned"
    reason: Optional[str] = None
    unknown = [gpu.bdf for gpu in gpus if gpu.node is None]
    if unknown:
        word, reason = "unaligned", f"the NUMA node of GPU {unknown[0]} is unknown"
    elif gpus:
        word, reason = _cpu_state(set(state.cpus), local)
    elif len(cpu_nodes) > 1 and state.policy.mode == "default":
        word, reason = "unaligned", "it has no GPU, CPUs of several nodes, and no memory policy"
    if total and near_bytes < PAGES_NEEDED * total:
        percent = 100 * (total - near_bytes) / total
        cause = _cause(total - near_bytes, ask_nodes(sorted(local_nodes)))
        where = f"{percent:.0f} % of its memory is on other nodes{cause}"
        if word == "aligned":
            word, reason = "partial", where
        elif word == "memory-only":
            word, reason = "unaligned", f"{reason}, and {where}"
    lent = _gpu_memory_of_policy(state, topology)
    if lent and word == "aligned":
        # Its next pages would go there: few programs mean to fill the memory of GPUs from the host.
        nodes = format_cpulist(lent)
        word, reason = "partial", f"its memory policy interleaves over memory of GPUs too (nodes {nodes})"
    if word == "memory-only" and state.policy.mode == "default":
        # Only by chance did first touch put its memory near the GPU: nothing keeps it there.
        word = "unaligned"
    return Verdict(
        cpu_nodes=cpu_nodes,
        gpu_nodes=tuple(sorted({gpu.node for gpu in gpus if gpu.node is not None})),
        bytes=total,
        near_bytes=near_bytes,
        state=word,
        reason=reason,
        local=local,
    )
