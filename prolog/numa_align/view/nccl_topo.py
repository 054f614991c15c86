"""A topology file for NCCL and RCCL (NCCL_TOPO_FILE), for machines whose sysfs lacks the GPUs' places. Pure.

Source: NCCL's src/graph/xml.cc (read at commit 081eafa) and src/graph/topo.cc (069a3d4). NCCL adds from sysfs
what a file leaves out (speed and width of links, the kind of processor), and looks there for each device that
is not in the file. Its reader accepts neither tabs nor an XML declaration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..cpulist import format_cpumap
from ..topology.gpu.pci import Way, bdf_key
from ..topology.model import Gpu, Topology
from .shown import Binding, Shown

#: PCI class of a switch.
_BRIDGE = "0x060400"
#: NCCL writes addresses with a domain of four digits, and looks devices up by that text.
_ADDRESS_LENGTH = len("0000:00:00.0")


def nccl_topo(binding: Binding) -> Shown:
    """The chosen GPUs and all cards for RDMA, below the NUMA node of each."""
    return topology_file(binding.topology, binding.gpus, binding.ways)


def topology_file(topology: Topology, gpus: Sequence[Gpu], ways: Mapping[str, Way]) -> Shown:
    """The file for these GPUs, and remarks for a person."""
    nodes = {gpu.bdf: gpu.node for gpu in gpus}
    nodes.update((nic.bdf, nic.node) for nic in topology.nics if nic.for_rdma)
    known = [bdf for bdf in nodes if nodes[bdf] is not None and len(bdf) == _ADDRESS_LENGTH]
    lines = ['<system version="1">']
    for node in topology.nodes:
        own = {bdf: ways[bdf] for bdf in sorted(known, key=bdf_key) if nodes[bdf] == node.id}
        if own:
            affinity = format_cpumap(topology.nearest_cpus(node.id))
            lines.append(f'  <cpu numaid="{node.id}" affinity="{affinity}">')
            lines += _below((), own, "    ")
            lines.append("  </cpu>")
    lines.append("</system>")
    return Shown("\n".join(lines), tuple(_notes([bdf for bdf in nodes if bdf not in known])))


def _below(above: tuple[str, ...], devices: Mapping[str, Way], indent: str) -> Iterator[str]:
    """The switches and devices whose route begins with ``above``, by address."""
    depth = len(above)
    here = {bdf: way for bdf, way in devices.items() if _switches(way)[:depth] == above}
    inner = {_switches(way)[depth] for way in here.values() if len(_switches(way)) > depth}
    ends = {bdf for bdf, way in here.items() if len(_switches(way)) == depth}
    for bdf in sorted(inner | ends, key=bdf_key):
        if bdf in inner:
            yield f'{indent}<pci busid="{bdf}" class="{_BRIDGE}">'
            yield from _below((*above, bdf), here, indent + "  ")
            yield f"{indent}</pci>"
        else:
            yield f'{indent}<pci busid="{bdf}" class="{here[bdf].class_code}"/>'


def _switches(way: Way) -> tuple[str, ...]:
    """The switches above a function, the highest first, as NCCL counts them: by their upstream ports.

    A switch has two bridges on the route, an upstream and a downstream port; a root port is single.
    """
    return tuple(reversed(way.route[1:-1][::-1][1::2]))


def _notes(lost: Sequence[str]) -> Iterator[str]:
    if lost:
        yield (
            f"without a place in the file, because their NUMA node is unknown: {', '.join(lost)}; NCCL looks "
            "for them in sysfs"
        )
    yield (
        "save it where every task can read it and set NCCL_TOPO_FILE to it, only where NCCL finds the places "
        "of devices wrong without it (docs/nics.md)"
    )
