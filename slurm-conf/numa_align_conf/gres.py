"""gres.conf: which device files are GPUs, and which cores are near each.

Source: gres.conf(5). Records of a node are in the order of the PCI addresses, as in NVML and in CUDA with
CUDA_DEVICE_ORDER=PCI_BUS_ID: without AutoDetect, the order of the records is Slurm's numbering of the GPUs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from numa_align.cpulist import format_cpulist
from numa_align.topology.gpu.vendors import VENDORS
from numa_align.topology.model import Gpu

from .facts import Kind
from .layout import Layout, choose_kind, cores_of, layout_of
from .version import Version

#: Words of a model that do not identify it: vendors, families, form factors, memory.
_NOISE = re.compile(
    r"nvidia|amd|intel|instinct|radeon|geforce|quadro|tesla|graphics|data center gpu|pro\b|"
    r"\b(sxm|pcie?|nvl|oam|hbm)\w*|\b\d+ ?gb\b|\(r\)|\(tm\)",
    re.IGNORECASE,
)


def type_of(gpu: Gpu) -> str:
    """Slurm's Type= of a GPU: the short name of its model in lower case, ``h100``; else its vendor.

    It is a part of the name that AutoDetect would find, as Slurm compares the two (gres.conf(5), Type).

    >>> type_of_model("NVIDIA A100-SXM4-80GB")
    'a100'
    """
    return (type_of_model(gpu.model) if gpu.model else "") or gpu.vendor


def type_of_model(model: str) -> str:
    """As `type_of`; empty if nothing remains."""
    return "_".join(re.findall(r"[a-z0-9]+", _NOISE.sub(" ", model.lower())))


@dataclass(frozen=True)
class Record:
    """A line of gres.conf about consecutive devices; if ``cores`` is None there is no Cores=."""

    type: str
    files: tuple[int, ...]
    prefix: str
    cores: Optional[tuple[int, ...]]
    links: Optional[tuple[int, ...]] = None
    flags: Optional[str] = None

    def text(self, nodes: str) -> str:
        """The line."""
        words = [f"NodeName={nodes}", "Name=gpu", f"Type={self.type}", f"File={self.file}"]
        if self.cores is not None:
            words.append(f"Cores={format_cpulist(self.cores)}")
        if self.links is not None:
            words.append("Links=" + ",".join(map(str, self.links)))
        if self.flags is not None:
            words.append(f"Flags={self.flags}")
        return " ".join(words)

    @property
    def file(self) -> str:
        """The device files, as a range if there are several."""
        if len(self.files) == 1:
            return f"{self.prefix}{self.files[0]}"
        return f"{self.prefix}[{format_cpulist(self.files)}]"


@dataclass(frozen=True)
class Gres:
    """What gres.conf says about a kind of node. ``autodetect`` replaces the records."""

    kind: Kind
    layout: Layout
    records: tuple[Record, ...]
    remarks: tuple[str, ...]
    autodetect: Optional[str] = None

    @property
    def in_slurm_conf(self) -> str:
        """Gres= of the NodeName line, ``gpu:h100:8``; empty without GPUs.

        The count is that of the records: slurmctld does not accept a node with fewer than declared.
        """
        counts: Counter[str] = Counter()
        if self.autodetect is None:
            for record in self.records:
                counts[f"{record.type}:"] += len(record.files)
        else:  # AutoDetect's name for a GPU without a known model is unknown, too
            counts.update(f"{type_of(gpu)}:" if gpu.model else "" for gpu in self.kind.topology.gpus)
        return ",".join(f"gpu:{name}{count}" for name, count in counts.items())

    def lines(self) -> Iterator[str]:
        """The lines of this kind with the reasons above."""
        topology, layout = self.kind.topology, self.layout
        yield (
            f"# {self.kind.folded}: {len(layout.sockets)} sockets ({layout.socket_name} each) of "
            f"{layout.cores_per_socket} cores, {layout.threads} threads per core, {len(topology.gpus)} GPUs"
        )
        for remark in self.remarks:
            yield from comment(remark)
        if self.autodetect is not None:
            yield f"NodeName={self.kind.folded} AutoDetect={self.autodetect}"
        for record in self.records:
            yield record.text(self.kind.folded)


def comment(text: str, width: int = 110) -> Iterator[str]:
    """Text as lines of a comment."""
    import textwrap  # noqa: PLC0415 (only the generators write text)

    for line in textwrap.wrap(text, width - 2):
        yield f"# {line}"


def layouts(kinds: Sequence[Kind], version: Version) -> tuple[Layout, ...]:
    """How Slurm is to count each kind of node.

    Before 25.11, what counts as a socket is set once for all nodes (SlurmdParameters): if one kind needs NUMA
    nodes, all get them; for most that changes nothing.
    """
    chosen = [choose_kind(kind.topology, version) if kind.topology.gpus else "package" for kind in kinds]
    if not version.has_node_parameters:
        needed = next((kind for kind in ("numa", "l3") if kind in chosen), "package")
        chosen = [needed] * len(kinds)
    return tuple(layout_of(kind.topology, name) for kind, name in zip(kinds, chosen))


def gres_of(kind: Kind, layout: Layout, version: Version) -> Gres:
    """The records of a kind of node."""
    gpus = kind.topology.gpus
    detected = _autodetect(kind)
    if detected is not None:
        return Gres(kind, layout, (), (detected[1],), detected[0])
    remarks: list[str] = []
    with_cores = _with_cores(kind, layout, remarks)
    vendors = {gpu.vendor for gpu in gpus}
    own = VENDORS.get(next(iter(vendors), "")) if len(vendors) == 1 else None
    flags = own.gres_flag if own else None
    links = kind.machine.links if kind.machine.links and any(map(any, kind.machine.links)) else None
    records: list[Record] = []
    for position, gpu in enumerate(gpus):
        if gpu.minor is None or gpu.device is None:
            remarks.append(f"GPU {gpu.bdf} is left out: it has no device file, as its driver is not loaded")
            continue
        near = cores_of(layout, gpu, version) if with_cores else None
        if near is not None and near.remark is not None:
            remarks.append(f"GPU {gpu.bdf} ({gpu.device}): {near.remark}.")
        line = None if links is None else _links(links[position], position)
        prefix = gpu.device.removesuffix(str(gpu.minor))
        cores = None if near is None else near.numbers
        _append(records, Record(type_of(gpu), (gpu.minor,), prefix, cores, line, flags))
    divided = _divided(gpus)
    if divided:
        remarks.append(
            f"{divided} AMD GPUs are divided (CPX, TPX, ...): each partition is a GPU to Slurm, with a "
            "render node of its own, and has to be here, or with ConstrainDevices no job can open it. "
            "Generate again when the mode changes."
        )
    order = [gpu.minor for gpu in gpus if gpu.minor is not None]
    if order != sorted(order):
        remarks.append(
            "In the order of the PCI addresses, by which CUDA and NVML count; the minors have another."
        )
    return Gres(kind, layout, tuple(records), tuple(remarks))


def _divided(gpus: Sequence[Gpu]) -> int:
    """How many AMD GPUs have several partitions, which differ in the number that replaces the function."""
    cards = Counter(gpu.bdf.rpartition(".")[0] for gpu in gpus if gpu.vendor == "amd")
    return sum(count > 1 for count in cards.values())


def _autodetect(kind: Kind) -> Optional[tuple[str, str]]:
    """If AutoDetect is better: its value, and why."""
    if kind.machine.divided:
        minors = format_cpulist(kind.machine.divided)
        return "nvml", (
            f"AutoDetect=nvml: /dev/nvidia{minors} have MIG instances, and only NVML knows the device files "
            "of each. slurmd must be built with NVML; `slurmd -G` shows what it finds."
        )
    vendors = {gpu.vendor for gpu in kind.topology.gpus}
    own = VENDORS.get(min(vendors, default="")) if len(vendors) == 1 else None
    detector = own.detector if own else None
    if detector is None or any(gpu.minor is not None for gpu in kind.topology.gpus):
        return None
    return detector, (
        f"AutoDetect={detector}: no device file is known, as the driver was not loaded when facts were "
        f"gathered. slurmd must be built with {detector.upper()}; `slurmd -G` shows what it finds."
    )


def _with_cores(kind: Kind, layout: Layout, remarks: list[str]) -> bool:
    """Whether to write Cores=; the reason if not, or for the kind of sockets, is added to the remarks."""
    if layout.flaw is not None:
        remarks.append(f"No Cores=: {layout.flaw}. Jobs cannot ask for cores near their GPUs here.")
        return False
    if all(gpu.node is None for gpu in kind.topology.gpus):
        remarks.append(
            "No Cores=: the NUMA node of no GPU is known (numa_node is -1). If you know them, say so in "
            "numa-align's override file; see `numa-align topo`."
        )
        return False
    if layout.kind == "numa" and len(layout.sockets) > len({core.package for core in layout.cores}):
        remarks.append(
            "NUMA nodes are smaller than packages here: Cores= must be whole sockets, so that slurm.conf "
            "has to count NUMA nodes as sockets (numa_node_as_socket)."
        )
    if layout.kind == "l3":
        remarks.append(
            "NUMA nodes differ in size, L3 caches do not: slurm.conf has to count these as sockets "
            "(l3cache_as_socket)."
        )
    return True


def _links(row: Sequence[int], self_position: int) -> tuple[int, ...]:
    """Links= of a GPU: the number of NVLinks to each, -1 for itself."""
    return tuple(-1 if i == self_position else count for i, count in enumerate(row))


def _append(records: list[Record], record: Record) -> None:
    """Add a device to the previous line if it follows it and is otherwise equal."""
    last = records[-1] if records else None
    follows = last is not None and record.links is None and record.files[0] == last.files[-1] + 1
    if last is not None and follows and replace(last, files=record.files) == record:
        records[-1] = replace(last, files=last.files + record.files)
        return
    records.append(record)


def gres_conf(kinds: Sequence[Kind], version: Version) -> str:
    """The text of gres.conf for these kinds of node."""
    return "\n".join([*_head(version), *(line for lines in _body(kinds, version) for line in lines)]) + "\n"


def _head(version: Version) -> Iterator[str]:
    yield f"# gres.conf for Slurm {version}, the same file on all nodes; by numa-align conf gres."
    yield from comment(
        "Cores= are Slurm's own core numbers (`lstopo -l`: Core L#), not Linux CPUs. They let jobs ask for "
        "cores near their GPUs with --gres-flags=enforce-binding."
    )
    if version.wants_one_socket:
        yield f"# Slurm {version} takes exactly one socket, or all cores; else the node does not register."
    elif version.checks_sockets:
        yield f"# Slurm {version} takes whole sockets only; else the node does not register."
    yield from comment(
        "AutoDetect is off, as it trusts what it detects, also if a GPU's firmware names no NUMA node. "
        "AutoDetect=nvml serves better for GPUs with MIG instances."
    )


def _body(kinds: Sequence[Kind], version: Version) -> Iterator[tuple[str, ...]]:
    for kind, layout in zip(kinds, layouts(kinds, version)):
        if kind.topology.gpus:
            yield ("", *gres_of(kind, layout, version).lines())
