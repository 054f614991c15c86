"""Whether a report is true: what a task says in NUMA_ALIGN_* against what the kernel says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from machine import Gpu, Topology

from .steps import Rank

STATES = ("aligned", "partial", "memory-only", "unaligned")


def named_gpus(rank: Rank, topology: Topology) -> list[Gpu]:
    by_address = {gpu.bdf: gpu for gpu in topology.gpu_table()}
    text = rank.environment.get("NUMA_ALIGN_GPUS", "")
    return [by_address[bdf] for bdf in text.split(",") if bdf]


def cpus_of(nodes: Iterable[int], topology: Topology) -> frozenset[int]:
    return frozenset(cpu for node in nodes for cpu in topology.cpus_of_node(node))


def assert_true(rank: Rank, topology: Topology) -> None:
    """The state is the literal truth, the GPUs are the task's, memory is on nodes that have some."""
    state, gpus = rank.environment["NUMA_ALIGN_STATE"], named_gpus(rank, topology)
    assert state in STATES
    assert {gpu.minor for gpu in gpus} <= set(rank.gpus), "it names a GPU that the task may not open"
    homes = {gpu.node for gpu in gpus if gpu.node is not None}
    near = cpus_of(homes, topology)
    if gpus and near and len(homes) == len({gpu.node for gpu in gpus}):
        expected = {True: "aligned", False: "partial"}[rank.cpus <= near] if rank.cpus & near else None
        assert state == expected if expected else state in ("memory-only", "unaligned"), rank
    if state == "aligned" and homes and all(topology.node_memory()[home] for home in homes):
        assert set(rank.nodes) <= homes, rank
    assert all(topology.node_memory()[node] for node in rank.nodes), rank
    if rank.mode in ("preferred", "preferred-many", "bind") and gpus:
        assert rank.pages_on(*rank.nodes) >= 0.99, rank


def assert_all_aligned(ranks: Sequence[Rank], topology: Topology, count: int) -> None:
    assert len(ranks) == count
    for rank in ranks:
        assert_true(rank, topology)
        assert rank.environment["NUMA_ALIGN_STATE"] == "aligned", rank


def assert_nobody_shares(ranks: Sequence[Rank]) -> None:
    counts = Counter(cpu for rank in ranks for cpu in rank.cpus)
    assert max(counts.values()) == 1, counts
