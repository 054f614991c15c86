"""What is reported of memory on other nodes: how much, and whether the near node is full."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from builder import Machine, on_nodes
from builder.own import OWN
from numa_align.placement.claim import local_cpus
from numa_align.process.node_memory import NodeMemory
from numa_align.process.state import Policy, ProcessState
from numa_align.process.verdict import Places, judge, nodes_of

MIB = 1 << 20
TWO = Machine(packages=2, cores=4, gpus=on_nodes(0, 0, 1, 1)).topology()


def process(near: int, far: int, shared_remotely: int = 0) -> ProcessState:
    """A process on node 0 with this many MiB."""
    shared = {("00:01", 7, 0): {1: shared_remotely * MIB}} if shared_remotely else {}
    private = {0: near * MIB, 1: far * MIB}
    return ProcessState(1, (0, 1), (0, 1), Policy("preferred-many", (0,)), private, shared)


def told(free: int, clean: int) -> list[str]:
    asked: list[tuple[int, ...]] = []

    def ask(nodes: Iterable[int]) -> list[NodeMemory]:
        asked.append(tuple(nodes))
        return [NodeMemory(node, 768 * MIB, free * MIB, clean * MIB) for node in asked[-1]]

    verdict = judge(process(10, 90), TWO.gpus[:1], TWO, ask)
    assert asked == [(0,)] and verdict.state == "partial" and verdict.reason
    return [verdict.reason]


def test_remote_memory_is_explained_by_what_is_free_on_the_full_node() -> None:
    assert told(43, 637) == [
        "90 % of its memory is on other nodes (now node 0 has 43 MiB free and 637 MiB of page cache that can "
        "make room)"
    ]


def test_a_node_with_enough_free_memory_is_no_cause() -> None:
    assert told(100, 637) == ["90 % of its memory is on other nodes"]


def test_shared_memory_counts_where_it_is() -> None:
    near = judge(process(100, 0), TWO.gpus[:1], TWO)
    verdict = judge(process(100, 0, shared_remotely=100), TWO.gpus[:1], TWO)
    assert (near.state, verdict.state) == ("aligned", "partial")
    assert verdict.near_bytes * 2 == verdict.bytes


def test_nodes_are_not_asked_where_memory_is_near() -> None:
    def ask(nodes: Iterable[int]) -> list[NodeMemory]:
        raise AssertionError("asked")

    assert judge(process(100, 1), TWO.gpus[:1], TWO, ask).state == "aligned"


def test_interleaving_over_the_memory_of_gpus_is_told() -> None:
    """`numactl --interleave=all` on Grace names the nodes of the GPUs' memory as well."""
    grace = OWN["four-superchips"].topology()
    gpu = grace.gpus[0]
    state = ProcessState(
        1, grace.nodes[0].cpus, (0,), Policy("interleave", (0, 1, 2, 3, 4)), {0: 1 << 30}, {}
    )
    verdict = judge(state, [gpu], grace)
    assert verdict.state == "partial"
    assert verdict.reason == "its memory policy interleaves over memory of GPUs too (nodes 4)"
    own = ProcessState(1, grace.nodes[0].cpus, (0,), Policy("interleave", (0, 1)), {0: 1 << 30}, {})
    assert judge(own, [gpu], grace).state == "aligned"


@pytest.mark.parametrize("name", OWN)
def test_places_worked_out_once_are_the_right_ones(name: str) -> None:
    topology = OWN[name].topology()
    places = Places(topology)
    for _ in range(2):
        for cpus in ((), topology.online[:1], topology.online[::2], topology.online):
            assert places.nodes_of(cpus) == nodes_of(cpus, topology)
        for count in range(len(topology.gpus) + 1):
            gpus = topology.gpus[count:]
            assert places.local_cpus(gpus) == local_cpus(topology, gpus)


def test_one_process_of_many_is_judged_as_alone() -> None:
    places = Places(TWO)
    for gpus in (TWO.gpus[:1], TWO.gpus[2:], (), TWO.gpus[:1]):
        assert judge(process(10, 90), gpus, TWO, places=places) == judge(process(10, 90), gpus, TWO)
