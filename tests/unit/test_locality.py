"""The chain from what a device says to its node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import pytest
from numa_align.topology.gpu.pci import Clue
from numa_align.topology.locality import Placement, place
from numa_align.topology.model import Node

ONLINE = tuple(range(8))
TWO = (Node(0, (0, 1, 2, 3), 1, "cpu"), Node(1, (4, 5, 6, 7), 1, "cpu"))
FOUR = tuple(Node(i, (2 * i, 2 * i + 1), 1, "cpu") for i in range(4))
ONE = (Node(3, ONLINE, 1, "cpu"), Node(4, (), 1, "memory"))
SILENT = Clue(-1, ONLINE)


@pytest.mark.parametrize(
    ("device", "bridges", "override", "nodes", "expected"),
    [
        pytest.param(Clue(1, None), [], None, TWO, (1, "numa_node"), id="the device says it"),
        pytest.param(Clue(1, (0, 1)), [], None, TWO, (1, "numa_node"), id="numa_node before CPUs"),
        pytest.param(Clue(-1, (4, 5)), [], None, TWO, (1, "local_cpulist"), id="part of one node's CPUs"),
        pytest.param(
            Clue(-1, (4, 5, 99)), [], None, TWO, (1, "local_cpulist"), id="offline CPUs do not count"
        ),
        pytest.param(Clue(None, (0, 1, 2, 3)), [], None, TWO, (0, "local_cpulist"), id="no file"),
        pytest.param(SILENT, [], None, TWO, (None, "none"), id="every CPU is no locality"),
        pytest.param(Clue(-1, (0, 4)), [], None, TWO, (None, "none"), id="CPUs of two nodes"),
        pytest.param(Clue(-1, (0, 1, 2, 3)), [], None, FOUR, (None, "none"), id="a package of two nodes"),
        pytest.param(Clue(-1, (99,)), [], None, TWO, (None, "none"), id="no online CPU"),
        pytest.param(Clue(7, ONLINE), [], None, TWO, (None, "none"), id="a node that does not exist"),
        pytest.param(SILENT, [SILENT, Clue(1, None)], None, TWO, (1, "bridge"), id="a bridge further up"),
        pytest.param(
            SILENT, [Clue(None, (0,)), Clue(1, None)], None, TWO, (0, "bridge"), id="the nearest bridge"
        ),
        pytest.param(SILENT, [], None, ONE, (3, "only-node"), id="one node with CPUs"),
        pytest.param(SILENT, [Clue(4, None)], None, ONE, (4, "bridge"), id="a bridge on a node without CPUs"),
        pytest.param(SILENT, [], 1, TWO, (1, "override"), id="the site says it"),
        pytest.param(Clue(0, None), [], 1, TWO, (1, "override"), id="the site before the firmware"),
        pytest.param(Clue(None, None), [], None, (), (None, "none"), id="nothing at all"),
    ],
)
def test_the_first_rung_that_says_something_counts(
    device: Clue,
    bridges: list[Clue],
    override: Optional[int],
    nodes: tuple[Node, ...],
    expected: tuple[Optional[int], str],
) -> None:
    placement = place(device, bridges, override, nodes, ONLINE)
    assert (placement.node, placement.source) == expected
    assert (placement.source == "none") == (placement.node is None)


def test_bridges_are_not_asked_if_the_device_says_it() -> None:
    def bridges() -> Iterator[Clue]:
        raise AssertionError
        yield

    assert place(Clue(1, None), bridges(), None, TWO, ONLINE) == Placement(1, "numa_node")
    assert place(Clue(-1, (0,)), bridges(), None, TWO, ONLINE) == Placement(0, "local_cpulist")


def test_an_override_says_what_it_overrules_and_only_then() -> None:
    assert place(Clue(0, None), [], 1, TWO, ONLINE).remark == "the kernel says node 0"
    assert place(Clue(1, None), [], 1, TWO, ONLINE).remark == ""
    assert place(SILENT, [], 1, TWO, ONLINE).remark == ""


@pytest.mark.parametrize(
    ("device", "nodes", "words"),
    [
        (SILENT, TWO, "numa_node is -1 and local_cpulist names every CPU"),
        (Clue(7, None), TWO, "numa_node is 7, which does not exist and local_cpulist cannot be read"),
        (Clue(None, (99,)), TWO, "numa_node cannot be read and local_cpulist names no online CPU"),
        (Clue(-1, (0, 1, 2, 3)), FOUR, "numa_node is -1 and local_cpulist lies in nodes 0, 1"),
    ],
)
def test_why_a_node_is_not_known_is_said(device: Clue, nodes: tuple[Node, ...], words: str) -> None:
    assert place(device, [], None, nodes, ONLINE).remark == words
