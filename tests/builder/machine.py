"""The description of a machine, and what a correct reader finds on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Optional

from numa_align.names import NodeKind, Source
from numa_align.topology.model import Core, Gpu, Node, Topology

from . import tree
from .cards import Card, NvmeDisk

GIB = 1 << 30
_VENDORS = {0x10DE: "nvidia", 0x1002: "amd", 0x8086: "intel"}


@dataclass(frozen=True)
class Device:
    """A PCI function: a GPU by default, or something else that may be taken for one.

    ``node`` is the NUMA node it is attached to (None: unknown) and ``source`` how a reader
    learns it: ``numa_node``, ``local_cpulist``, ``bridge``, ``only-node`` or ``none``.
    ``is_gpu`` says whether a reader should list it. ``way`` is the directory below /sys/devices that it
    hangs in (``pci0000:10/0000:10:01.0``). Fields that are None get a value by position.
    """

    node: Optional[int] = 0
    vendor: int = 0x10DE
    device: int = 0x2335
    class_code: int = 0x030200
    source: Source = "numa_node"
    is_gpu: bool = True
    bdf: Optional[str] = None
    minor: Optional[int] = None
    uuid: Optional[str] = None
    model: Optional[str] = "Model 1"
    driver: Optional[str] = None
    memory_node: Optional[int] = None
    in_procfs: bool = True
    mig_instances: Sequence[int] = ()
    way: Optional[str] = None


@dataclass(frozen=True)
class ExtraNode:
    """A NUMA node without CPUs: HBM, CXL, memory of a GPU, or a number reserved for it."""

    id: int
    memory_bytes: int = 16 * GIB
    kind: NodeKind = "memory"


def on_nodes(*nodes: Optional[int], **fields: object) -> tuple[Device, ...]:
    """A GPU on each of these nodes, in the order of their addresses."""
    return tuple(Device(node=node, **fields) for node in nodes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Machine:
    """``packages`` x ``nodes`` x ``caches`` x ``cores`` x ``smt`` CPUs.

    Each count is per unit of the one before it. With ``siblings_apart`` the second thread of each
    core has a number after all first threads, as on x86, else next to the first, as on POWER.
    """

    packages: int = 1
    nodes: int = 1
    caches: int = 1
    cores: int = 4
    smt: int = 1
    gpus: Sequence[Device] = ()
    siblings_apart: bool = True
    memory_bytes: int = 64 * GIB
    node_ids: Optional[Sequence[int]] = None
    extra_nodes: Sequence[ExtraNode] = ()
    offline: Sequence[int] = ()
    cpu_only_nodes: Sequence[int] = ()
    matrix: Optional[Sequence[Sequence[int]]] = None
    has_node_directory: bool = True
    old_kernel: bool = False
    has_caches: bool = True
    cards: Sequence[Card] = ()
    disks: Sequence[NvmeDisk] = ()
    boot_id: str = "6fcd3ae3-0a5b-4b0e-b5a0-6b1de0a1c7f5"

    def write(self, root: Path) -> Path:
        """Make the tree below ``root``, which is returned."""
        tree.write(self, root)
        return root

    # -- what the hardware is ----------------------------------------------------------------

    @property
    def core_count(self) -> int:
        return self.packages * self.nodes * self.caches * self.cores

    @cached_property
    def threads(self) -> tuple[tuple[int, ...], ...]:
        """The CPUs of each core, in the order of the hardware."""
        step, stride = (1, self.core_count) if self.siblings_apart else (self.smt, 1)
        return tuple(
            tuple(core * step + thread * stride for thread in range(self.smt))
            for core in range(self.core_count)
        )

    @cached_property
    def cpu_nodes(self) -> tuple[int, ...]:
        """Numbers of the nodes with CPUs, in the order of the hardware."""
        if not self.has_node_directory:
            return (0,)
        return tuple(self.node_ids or range(self.packages * self.nodes))

    @cached_property
    def online(self) -> tuple[int, ...]:
        cpus = {cpu for threads in self.threads for cpu in threads}
        return tuple(sorted(cpus - set(self.offline)))

    def online_of(self, cores: range) -> tuple[int, ...]:
        """The online CPUs of some cores, ascending."""
        cpus = (cpu for core in cores for cpu in self.threads[core])
        return tuple(sorted(cpu for cpu in cpus if cpu not in self.offline))

    def group(self, core: int, size: int) -> range:
        """The cores of the group of ``size`` cores that a core is in."""
        first = core // size * size
        return range(first, first + size)

    def cpus_of_node(self, node: int) -> tuple[int, ...]:
        if node not in self.cpu_nodes:
            return ()
        if not self.has_node_directory:
            return self.online
        size = self.caches * self.cores
        return self.online_of(self.group(self.cpu_nodes.index(node) * size, size))

    @cached_property
    def all_nodes(self) -> tuple[int, ...]:
        return tuple(sorted({*self.cpu_nodes, *(extra.id for extra in self.extra_nodes)}))

    @cached_property
    def distances(self) -> tuple[tuple[int, ...], ...]:
        """SLIT in the order of `all_nodes`: as given, else 12 inside a package and 32 between."""
        if self.matrix is not None:
            return tuple(tuple(row) for row in self.matrix)
        return tuple(tuple(self._distance(a, b) for b in self.all_nodes) for a in self.all_nodes)

    def _distance(self, a: int, b: int) -> int:
        if a == b:
            return 10
        if a in self.cpu_nodes and b in self.cpu_nodes:
            same = self.cpu_nodes.index(a) // self.nodes == self.cpu_nodes.index(b) // self.nodes
            return 12 if same else 32
        return 80

    def address(self, position: int) -> str:
        """Address of the GPU at a position of ``gpus``."""
        chosen = self.gpus[position].bdf
        return chosen or f"{position // 8:04x}:{0x11 + 0x10 * (position % 8):02x}:00.0"

    def minor(self, position: int) -> int:
        chosen = self.gpus[position].minor
        first = 128 if self.gpus[position].vendor in (0x1002, 0x8086) else 0
        return first + position if chosen is None else chosen

    # -- what a reader must find -------------------------------------------------------------

    def topology(self) -> Topology:
        """The machine as a correct reader describes it, without gres.conf, override file and warnings."""
        cores = [self._core(core) for core in range(self.core_count) if self.online_of(range(core, core + 1))]
        gpus = [self._gpu(position) for position, gpu in enumerate(self.gpus) if gpu.is_gpu]
        return Topology(
            self.online,
            tuple(self._node(node) for node in self.all_nodes),
            self.distances,
            tuple(sorted(cores, key=lambda core: core.cpus)),
            tuple(sorted(gpus, key=lambda gpu: (int(gpu.bdf.partition(":")[0], 16), gpu.bdf))),
        )

    def _node(self, node: int) -> Node:
        for extra in self.extra_nodes:
            if extra.id == node:
                return Node(node, (), extra.memory_bytes, extra.kind)
        cpus = self.cpus_of_node(node)
        if node in self.cpu_only_nodes:
            return Node(node, cpus, 0, "cpu-only")
        return Node(node, cpus, self.memory_bytes, "cpu" if cpus else "memory")

    def _core(self, core: int) -> Core:
        cpus = self.online_of(range(core, core + 1))
        per_node = self.caches * self.cores
        node = self.cpu_nodes[core // per_node] if self.has_node_directory else 0
        llc = self.online_of(self.group(core, self.cores))[0] if self.has_caches else cpus[0]
        return Core(cpus, node, core // (self.nodes * per_node), llc)

    def _gpu(self, position: int) -> Gpu:
        gpu = self.gpus[position]
        vendor = _VENDORS.get(gpu.vendor, "nvidia")
        known = gpu.in_procfs if vendor == "nvidia" else gpu.driver is not None
        minor = self.minor(position) if known else None
        file = "/dev/nvidia" if vendor == "nvidia" else "/dev/dri/renderD"
        return Gpu(
            vendor=vendor,
            bdf=self.address(position),
            minor=minor,
            uuid=gpu.uuid if known else None,
            model=gpu.model if vendor == "nvidia" and known else None,
            index=None,
            node=gpu.node,
            source=gpu.source,
            cpus=() if gpu.node is None else self._nearest_cpus(gpu.node),
            memory_nodes=() if gpu.node is None else self._memory_nodes(gpu.node),
            device=None if minor is None else f"{file}{minor}",
        )

    def _by_distance(self, start: int) -> list[int]:
        row = self.distances[self.all_nodes.index(start)]
        return sorted(self.all_nodes, key=lambda node: (node != start, row[self.all_nodes.index(node)], node))

    def _nearest_cpus(self, node: int) -> tuple[int, ...]:
        own = self.cpus_of_node(node)
        row = self.distances[self.all_nodes.index(node)]
        away = {
            other: row[self.all_nodes.index(other)] for other in self.cpu_nodes if self.cpus_of_node(other)
        }
        nearest = [other for other, distance in away.items() if distance == min(away.values())]
        return own or tuple(sorted(cpu for other in nearest for cpu in self.cpus_of_node(other)))

    def _memory_nodes(self, node: int) -> tuple[int, ...]:
        return next(((near,) for near in self._by_distance(node) if self._node(near).kind == "cpu"), ())
