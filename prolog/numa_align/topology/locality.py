"""From what a PCI device reports to its NUMA node: a chain of sources, as a pure function.

The kernel's ``numa_node`` is -1 if the firmware gives none: on most machines with one node,
in most virtual machines, and on some with two packages. -1 never silently becomes node 0. The
sources, in the order in which they are asked, each only if the earlier ones had no answer:

1. ``override``: the site's file names the device. It comes first because it also serves for firmware
   that is wrong, not only for firmware that gives nothing.
2. ``numa_node`` of the device, if such a node exists.
3. ``local_cpulist`` of the device, if it is a strict subset of the online CPUs (for a device
   without a node the kernel lists every CPU) and lies entirely in one node.
4. ``bridge``: the same two files of the bridges above it, the nearest first.
5. ``only-node``: there is only one node with CPUs.
6. ``none``.

Source: Documentation/ABI/testing/sysfs-bus-pci.
"""

from __future__ import annotations

from ..light_typing import TYPE_CHECKING, NamedTuple
from .gpu.pci import Clue
from .model import Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Optional

    from ..names import Source


class Placement(NamedTuple):
    """The node of a device, its source, and in words what else was seen.

    ``remark`` is empty if nothing is unusual. With source ``none`` it is
    the reason, otherwise what the source overruled.
    """

    node: Optional[int]
    source: Source
    remark: str = ""


def place(
    device: Clue,
    bridges: Iterable[Clue],
    override: Optional[int],
    nodes: Sequence[Node],
    online: Sequence[int],
) -> Placement:
    """The node of a device on a machine with these nodes and online CPUs.

    ``override`` is the node from the site's file, which has been checked to exist; ``bridges`` are
    consumed only as far as they are needed.
    """
    said = _numa_node(device, nodes)
    if override is not None:
        overruled = said is not None and said != override
        return Placement(override, "override", f"the kernel says node {said}" if overruled else "")
    if said is not None:
        return Placement(said, "numa_node")
    by_cpus = _node_of_cpus(device, nodes, online)
    if by_cpus is not None:
        return Placement(by_cpus, "local_cpulist")
    for bridge in bridges:
        by_bridge = _numa_node(bridge, nodes)
        if by_bridge is None:
            by_bridge = _node_of_cpus(bridge, nodes, online)
        if by_bridge is not None:
            return Placement(by_bridge, "bridge")
    with_cpus = [node.id for node in nodes if node.cpus]
    if len(with_cpus) == 1:
        return Placement(with_cpus[0], "only-node")
    return Placement(None, "none", _why_not(device, nodes, online))


def _numa_node(clue: Clue, nodes: Sequence[Node]) -> Optional[int]:
    return clue.numa_node if any(node.id == clue.numa_node for node in nodes) else None


def _node_of_cpus(clue: Clue, nodes: Sequence[Node], online: Sequence[int]) -> Optional[int]:
    """The only node with all of the local CPUs, if these are not all CPUs."""
    local = set(clue.local_cpus or ()) & set(online)
    if not local or len(local) == len(online):
        return None
    holders = [node.id for node in nodes if local <= set(node.cpus)]
    return holders[0] if len(holders) == 1 else None


def _why_not(device: Clue, nodes: Sequence[Node], online: Sequence[int]) -> str:
    """What the device did report, for a person who wants to know why its node is unknown."""
    if device.numa_node is None:
        node_words = "numa_node cannot be read"
    elif device.numa_node < 0:
        node_words = f"numa_node is {device.numa_node}"
    else:
        node_words = f"numa_node is {device.numa_node}, which does not exist"
    local = set(device.local_cpus or ()) & set(online)
    if device.local_cpus is None:
        cpu_words = "local_cpulist cannot be read"
    elif not local:
        cpu_words = "local_cpulist names no online CPU"
    elif len(local) == len(online):
        cpu_words = "local_cpulist names every CPU"
    else:
        held_by = [str(node.id) for node in nodes if local & set(node.cpus)]
        cpu_words = f"local_cpulist lies in nodes {', '.join(held_by) or 'that are not known'}"
    return f"{node_words} and {cpu_words}"
