"""Machines whose descriptions contradict themselves, most of them wrongly defined virtual machines."""

from __future__ import annotations

from collections.abc import Iterator

from .model import Topology


def contradictions(machine: Topology) -> Iterator[str]:
    """Warnings about the machine as a whole, in sentences."""
    if nodes_cut_packages(machine):
        yield (
            "NUMA nodes and packages contradict each other: a node has cores of two packages and neither "
            "whole, and Slurm (hwloc) ignores such nodes. In a virtual machine its definition is to be "
            "mended: the CPUs of each cell (libvirt <cell cpus=...>, QEMU -numa) have to be whole sockets"
        )
    elif _nodes_are_lost(machine):
        yield (
            "the GPUs' packages are not known: several packages share one NUMA node (numa=off, node "
            "interleaving in the firmware, or a virtual machine without cells), so that every core counts "
            "as near to every GPU"
        )


def nodes_cut_packages(machine: Topology) -> bool:
    """Whether a node has only some cores of one package and also cores of another."""
    packages: dict[int, set[int]] = {}
    nodes: dict[int, set[int]] = {}
    for core in machine.cores:
        packages.setdefault(core.package, set()).update(core.cpus)
        if core.node is not None:
            nodes.setdefault(core.node, set()).update(core.cpus)
    return any(
        not node.isdisjoint(package) and not node <= package and not package <= node
        for node in nodes.values()
        for package in packages.values()
    )


def _nodes_are_lost(machine: Topology) -> bool:
    """Whether several packages share the only node, and there are GPUs to which it matters.

    Packages of one core each are what hypervisors make of CPUs by default, and mean nothing.
    """
    packages = {core.package for core in machine.cores}
    real = 1 < len(packages) < len(machine.cores)
    return len(machine.nodes) == 1 and real and bool(machine.gpus)
