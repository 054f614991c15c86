"""Whether a report is true: a task's NUMA_ALIGN_* compared with what the kernel reports of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from machine import Gpu, Hardware

from .steps import Rank

STATES = ("aligned", "partial", "memory-only", "unaligned")


def named_gpus(rank: Rank, topology: Hardware) -> list[Gpu]:
    by_address = {gpu.bdf: gpu for gpu in topology.gpu_table()}
    text = rank.environment.get("NUMA_ALIGN_GPUS", "")
    return [by_address[bdf] for bdf in text.split(",") if bdf]


def cpus_of(nodes: Iterable[int], topology: Hardware) -> frozenset[int]:
    return frozenset(cpu for node in nodes for cpu in topology.cpus_of_node(node))


def local_to(homes: Iterable[int], topology: Hardware) -> frozenset[int]:
    """The CPUs of these nodes and of the nodes of their packages that have no GPU, below distance 20."""
    with_gpu = {gpu.node for gpu in topology.gpu_table()}
    size = topology.nodes_per_package
    empty = {node for node in range(topology.packages * size) if node not in with_gpu}
    beside = {node for node in empty for home in homes if node // size == home // size}
    return cpus_of({*homes, *(beside if topology.near_distance < 20 else ())}, topology)


def assert_true(rank: Rank, topology: Hardware) -> None:
    """The state is the literal truth, the GPUs are the task's, memory is on nodes that have some."""
    state, gpus = rank.environment["NUMA_ALIGN_STATE"], named_gpus(rank, topology)
    assert state in STATES
    assert {gpu.minor for gpu in gpus} <= set(rank.gpus), "it names a GPU that the task may not open"
    homes = {gpu.node for gpu in gpus if gpu.node is not None}
    near = local_to(homes, topology)
    if gpus and near and len(homes) == len({gpu.node for gpu in gpus}):
        expected = {True: "aligned", False: "partial"}[rank.cpus <= near] if rank.cpus & near else None
        assert state == expected if expected else state in ("memory-only", "unaligned"), rank
    if state == "aligned" and homes and all(topology.node_memory()[home] for home in homes):
        assert set(rank.nodes) <= homes, rank
    assert all(topology.node_memory()[node] for node in rank.nodes), rank
    if rank.mode in ("preferred", "preferred-many", "bind") and gpus:
        assert rank.pages_on(*rank.nodes) >= 0.99, rank


def assert_all_aligned(ranks: Sequence[Rank], topology: Hardware, count: int) -> None:
    assert len(ranks) == count
    for rank in ranks:
        assert_true(rank, topology)
        assert rank.environment["NUMA_ALIGN_STATE"] == "aligned", rank


def assert_nobody_shares(ranks: Sequence[Rank]) -> None:
    counts = Counter(cpu for rank in ranks for cpu in rank.cpus)
    assert max(counts.values()) == 1, counts
