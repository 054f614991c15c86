"""Describe the hardware of a test machine, for QEMU.

A `Topology` is data only: packages, NUMA nodes, cores, distances, memory and GPUs. From it come QEMU's
arguments, and what a test needs to know beforehand to check the guest's answers: which CPUs a node has, which
PCI address a GPU will get.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

LOCAL_DISTANCE = 10
"""What ACPI's SLIT demands of a node to itself; QEMU refuses any other value."""

FIRST_GPU_BUS = 0x10
"""Buses below this one are left to the firmware for the bridges of the root bus."""

GPU_UUID_NAMESPACE = uuid.UUID("6a1f7a52-21d5-5d0e-9f0c-3f1d7f6c0a11")


@dataclass(frozen=True)
class Gpu:
    """One pretended GPU: `index` counts in PCI order, `minor` is N of /dev/nvidiaN, the two may differ."""

    index: int
    minor: int
    bdf: str
    node: int | None
    uuid: str
    model: str

    @property
    def device(self) -> str:
        return f"/dev/nvidia{self.minor}"

    def information(self) -> str:
        """The text of /proc/driver/nvidia/gpus/<BDF>/information, in the layout of the driver."""
        rows = (
            ("Model", "\t\t ", self.model),
            ("IRQ", "  \t\t ", str(32 + self.index)),
            ("GPU UUID", "\t ", self.uuid),
            ("Video BIOS", "\t ", "96.00.61.00.01"),
            ("Bus Type", "\t ", "PCIe"),
            ("DMA Size", "\t ", "52 bits"),
            ("DMA Mask", "\t ", "0xfffffffffffff"),
            ("Bus Location", "\t ", self.bdf),
            ("Device Minor", "\t ", str(self.minor)),
            ("GPU Excluded", "\t ", "No"),
        )
        return "".join(f"{name}: {gap}{value}\n" for name, gap, value in rows)


@dataclass(frozen=True)
class Nic:
    """One network card; `index` counts in the order of `nics`. The cards of a machine are on one cable."""

    index: int
    bdf: str
    node: int | None


@dataclass(frozen=True)
class Hardware:
    """The shape of one machine; memory is in MiB.

    Nodes are numbered package by package; `memory_only` adds nodes that have memory and no CPUs behind them.
    A node whose entry in `memory` is 0 has CPUs and no memory. `gpus` names the node of each GPU in PCI
    order, None stands for a GPU whose firmware says nothing (numa_node -1). `nics` does so for network cards,
    each beside the first GPUs of its node. Linux numbers the CPUs core by core, so that SMT siblings are
    neighbours.
    """

    packages: int = 2
    nodes_per_package: int = 1
    cores_per_node: int = 4
    threads: int = 1
    memory: int | tuple[int, ...] = 768
    memory_only: tuple[int, ...] = ()
    gpus: tuple[int | None, ...] = (0, 0, 0, 0, 1, 1, 1, 1)
    minors: tuple[int, ...] | None = None
    nics: tuple[int | None, ...] = ()
    near_distance: int = 12
    far_distance: int = 21
    distances: tuple[tuple[int, ...], ...] | None = None
    gpu_model: str = "NVIDIA H100 80GB HBM3"

    def __post_init__(self) -> None:
        if min(self.packages, self.nodes_per_package, self.cores_per_node, self.threads) < 1:
            raise ValueError("packages, nodes, cores and threads must be at least 1")
        if not isinstance(self.memory, int) and len(self.memory) != self.cpu_nodes:
            raise ValueError(f"memory has {len(self.memory)} entries for {self.cpu_nodes} nodes with CPUs")
        if not any(self.node_memory()):
            raise ValueError("no node has memory")
        if any(node is not None and not 0 <= node < self.nodes for node in self.gpus):
            raise ValueError(f"a GPU's node is not in 0-{self.nodes - 1}")
        if self.minors is not None and len(set(self.minors)) != len(self.gpus):
            raise ValueError("minors must be as many as GPUs and different from each other")
        if not set(self.nics) <= set(self.gpus):
            raise ValueError("a network card is where no GPU is")
        if self.distances is not None and [len(row) for row in self.distances] != [self.nodes] * self.nodes:
            raise ValueError(f"distances must be {self.nodes} rows of {self.nodes}")

    @property
    def cpu_nodes(self) -> int:
        return self.packages * self.nodes_per_package

    @property
    def nodes(self) -> int:
        return self.cpu_nodes + len(self.memory_only)

    @property
    def cores(self) -> int:
        return self.cpu_nodes * self.cores_per_node

    @property
    def cpus(self) -> int:
        return self.cores * self.threads

    @property
    def total_memory(self) -> int:
        return sum(self.node_memory())

    def node_memory(self) -> tuple[int, ...]:
        """MiB of each node, those without CPUs last."""
        with_cpus = (self.memory,) * self.cpu_nodes if isinstance(self.memory, int) else self.memory
        return with_cpus + self.memory_only

    def cpus_of_node(self, node: int) -> range:
        """Linux numbers of a node's CPUs; empty for a node that only has memory."""
        if node >= self.cpu_nodes:
            return range(0)
        size = self.cores_per_node * self.threads
        return range(node * size, (node + 1) * size)

    def distance_matrix(self) -> tuple[tuple[int, ...], ...]:
        if self.distances is not None:
            return self.distances
        return tuple(tuple(self._distance(a, b) for b in range(self.nodes)) for a in range(self.nodes))

    def _distance(self, a: int, b: int) -> int:
        if a == b:
            return LOCAL_DISTANCE
        with_cpus = max(a, b) < self.cpu_nodes
        same_package = a // self.nodes_per_package == b // self.nodes_per_package
        return self.near_distance if with_cpus and same_package else self.far_distance

    def gpu_table(self) -> tuple[Gpu, ...]:
        """The GPUs as the guest will see them, in PCI order."""
        minors = self.minors if self.minors is not None else tuple(range(len(self.gpus)))
        return tuple(
            Gpu(
                index=index,
                minor=minors[index],
                bdf=f"0000:{bus + 1 + port:02x}:00.0",
                node=group.node,
                uuid=f"GPU-{uuid.uuid5(GPU_UUID_NAMESPACE, str(index))}",
                model=self.gpu_model,
            )
            for group in self._bridges()
            for bus in (group.bus,)
            for port, index in enumerate(group.gpus)
        )

    def nic_table(self) -> tuple[Nic, ...]:
        """The network cards as the guest will see them, in the order of `nics`."""
        found = [
            Nic(index, f"0000:{group.bus + 1 + port:02x}:00.0", group.node)
            for group in self._bridges()
            for port, index in enumerate(group.nics, len(group.gpus))
        ]
        return tuple(sorted(found, key=lambda nic: nic.index))

    def _bridges(self) -> Iterator[_Bridge]:
        """One host bridge for each run of GPUs on the same node, so that PCI order is the order of `gpus`."""
        bus = FIRST_GPU_BUS
        beside = {node: tuple(i for i, of in enumerate(self.nics) if of == node) for node in self.nics}
        for node, run in itertools.groupby(enumerate(self.gpus), key=lambda pair: pair[1]):
            members = tuple(index for index, _ in run)
            nics = beside.pop(node, ())
            yield _Bridge(bus, node, members, nics)
            bus += (1 + len(members) + len(nics) + 7) // 8 * 8
            if bus > 0xF8:
                raise ValueError("too many devices for one PCI segment")

    def qemu_arguments(self) -> list[str]:
        """CPUs, memory, NUMA nodes and the PCI tree."""
        arguments = [
            "-smp",
            f"{self.cpus},sockets={self.packages},cores={self.cores // self.packages},threads={self.threads}",
            "-m",
            f"{self.total_memory}M",
        ]
        for node, memory in enumerate(self.node_memory()):
            text = f"node,nodeid={node}"
            if memory:
                arguments += ["-object", f"memory-backend-ram,id=ram{node},size={memory}M"]
                text += f",memdev=ram{node}"
            cpus = self.cpus_of_node(node)
            if cpus:
                text += f",cpus={cpus.start}-{cpus.stop - 1}"
            arguments += ["-numa", text]
        for a, row in enumerate(self.distance_matrix()):
            for b, value in enumerate(row):
                if self.nodes > 1:
                    arguments += ["-numa", f"dist,src={a},dst={b},val={value}"]
        for index in range(len(self.nics)):
            arguments += ["-netdev", f"hubport,id=cable{index},hubid=0"]
        for bridge in self._bridges():
            arguments += bridge.qemu_arguments(len(self.gpus))
        return arguments

    def gpu_files(self) -> dict[str, str]:
        """The contents of /proc/driver on a machine with the driver loaded."""
        files = {f"nvidia/gpus/{gpu.bdf}/information": gpu.information() for gpu in self.gpu_table()}
        if files:
            files["nvidia/version"] = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15\n"
        return files


@dataclass(frozen=True)
class _Bridge:
    """A pxb-pcie host bridge with a root port and an endpoint for each of its GPUs, and then of its cards.

    QEMU gives a pxb's `numa_node` to the guest as _PXM of the bus, which is the only way a PCI device gets a
    NUMA node there; a pxb without one yields numa_node -1. The firmware numbers the buses behind the ports in
    order, from the bridge's own number on. `edu` is QEMU's smallest endpoint; no driver of the guest touches
    it.
    """

    bus: int
    node: int | None
    gpus: tuple[int, ...]
    nics: tuple[int, ...]

    def qemu_arguments(self, gpus: int) -> list[str]:
        """`gpus` is how many the machine has: the slots of the cards count on from there."""
        name = f"pxb{self.bus:02x}"
        place = "" if self.node is None else f",numa_node={self.node}"
        arguments = ["-device", f"pxb-pcie,id={name},bus_nr={self.bus},bus=pcie.0{place}"]
        endpoints = [(index, f"edu,id=gpu{index}") for index in self.gpus]
        endpoints += [(gpus + index, _nic_device(index)) for index in self.nics]
        for port, (slot, device) in enumerate(endpoints):
            root_port = (
                f"pcie-root-port,id=port{slot},bus={name},chassis={slot + 1},slot={slot},addr={port}.0"
            )
            arguments += ["-device", root_port, "-device", f"{device},bus=port{slot}"]
        return arguments


def _nic_device(index: int) -> str:
    """No option ROM, since nothing boots from it and it is a package of its own."""
    return f"virtio-net-pci,netdev=cable{index},mac=52:54:00:10:12:{index:02x},romfile="
