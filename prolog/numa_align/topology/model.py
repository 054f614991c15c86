"""The description of a machine: frozen values that `topology` fills and all other packages read.

CPU numbers are Linux logical CPU numbers (hardware threads); node numbers are those of
``/sys/devices/system/node/nodeN`` and may have gaps. Nothing here touches the machine.
"""

from __future__ import annotations

from ..light_typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Optional

    from ..names import NodeKind, PathWord, Source


class Core(NamedTuple):
    """One physical core: its online hardware threads and where it sits.

    ``cpus`` are ascending and not empty. ``node`` is the NUMA node, or None if the kernel
    does not tell. ``package`` is ``topology/physical_package_id`` (-1 if unknown); ``llc`` is
    the lowest CPU that shares the core's last-level cache (the core's own lowest CPU if no
    cache is described), so that two cores with the same ``llc`` share it.
    """

    cpus: tuple[int, ...]
    node: Optional[int]
    package: int
    llc: int


class Node(NamedTuple):
    """One NUMA node: ``cpus`` are its online CPUs, ascending; ``memory_bytes`` its MemTotal."""

    id: int
    cpus: tuple[int, ...]
    memory_bytes: int
    kind: NodeKind


class Gpu(NamedTuple):
    """One GPU (physical device; a MIG instance belongs to its GPU) and its locality.

    ``bdf``: PCI address, lower case, domain of at least four digits (``0000:18:00.0``).
    ``minor``: N of ``/dev/nvidiaN``, or of ``/dev/dri/renderDN`` for AMD and Intel.
    ``index``: Slurm's gres index on this node, None if it cannot be known.
    ``node``: the NUMA node its PCI device is attached to, None if unknown; ``source``
    is where that is known from (`names.Source`). ``cpus``: the online CPUs of that node (of
    the nearest node with CPUs if that node has none), ascending. ``memory_nodes``: where host
    memory for this GPU goes: the node, or the nearest one of kind ``cpu``; never GPU memory.
    ``device``: the device file whose permission decides whether a task may use this GPU.
    """

    vendor: str
    bdf: str
    minor: Optional[int]
    uuid: Optional[str]
    model: Optional[str]
    index: Optional[int]  # type: ignore[assignment]  # hides tuple.index
    node: Optional[int]
    source: Source
    cpus: tuple[int, ...]
    memory_nodes: tuple[int, ...]
    device: Optional[str]


#: How far a device is from a GPU, nearest first, in the words of ``nvidia-smi topo -m``. PIX: at most one
#: PCIe switch between them. PXB: several switches. PHB: the same host bridge. NODE: other host bridges of
#: one NUMA node. SYS: other nodes, or an unknown node.
PATHS: tuple[PathWord, ...] = ("PIX", "PXB", "PHB", "NODE", "SYS")

#: Kinds of network card. All but the last are for RDMA.
NIC_KINDS = ("infiniband", "roce", "iwarp", "efa", "slingshot", "ethernet")


class Nic(NamedTuple):
    """One network card as programs name it: an RDMA device, or an interface of a card that has none.

    ``name`` is that of the RDMA device (``mlx5_0``), for Slingshot of the cxi device, else of the first
    interface; None if no driver has made any. ``interfaces`` are all of the function. ``ports`` are the
    numbers of the ports of an RDMA device that are active; ``up`` says whether anything can be sent, None
    if unknown. ``physical`` is the physical function to which a virtual one (SR-IOV) or a
    subfunction belongs; ``bond`` the bond that has an interface of the card. ``node`` and ``source``
    are as for `Gpu`; ``paths`` has one of `PATHS` for each GPU of the machine, in their order. ``device`` is
    the file that a program opens to use the card, None if it has none or it is unknown.
    """

    bdf: str
    name: Optional[str]
    kind: str
    interfaces: tuple[str, ...]
    ports: tuple[int, ...]
    up: Optional[bool]
    physical: Optional[str]
    bond: Optional[str]
    node: Optional[int]
    source: Source
    paths: tuple[PathWord, ...]
    device: Optional[str] = None

    @property
    def for_rdma(self) -> bool:
        """Whether the card can do RDMA, according to its driver or, without one, its class."""
        return self.kind != NIC_KINDS[-1]

    @property
    def is_alone(self) -> bool:
        """Whether it is a card of its own: neither a function of another card nor part of a bond."""
        return self.physical is None and self.bond is None

    @property
    def is_choosable(self) -> bool:
        """Whether a task may be told to use it: for RDMA, up, a card of its own."""
        return self.for_rdma and self.name is not None and self.up is not False and self.is_alone


class Topology(NamedTuple):
    """A whole machine.

    ``nodes`` ascend by id; ``distances[i][j]`` is the SLIT distance from ``nodes[i]`` to
    ``nodes[j]`` (10 is local). ``cores`` ascend by lowest CPU; ``gpus`` ascend by BDF, the order
    in which CUDA with ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` and NVML count. ``warnings`` are
    sentences for a person about what could not be read or was overruled. ``nics`` are the cards for RDMA
    among which tasks choose (`topology.nic.read_rdma_nics`), whether they are up or not.
    """

    online: tuple[int, ...]
    nodes: tuple[Node, ...]
    distances: tuple[tuple[int, ...], ...]
    cores: tuple[Core, ...]
    gpus: tuple[Gpu, ...]
    warnings: tuple[str, ...] = ()
    nics: tuple[Nic, ...] = ()

    def nearest_cpus(self, node: int) -> tuple[int, ...]:
        """The CPUs of a node; if it has none, those of the nodes at the least distance that have some.

        `na_own_cpus` in spank/placement/machine.c does the same for the plugin; a test compares them.
        """
        with_cpus = {one.id: one.cpus for one in self.nodes if one.cpus}
        if node in with_cpus or not with_cpus:
            return with_cpus.get(node, ())
        ids = [one.id for one in self.nodes]
        row = dict(zip(ids, self.distances[ids.index(node)]))
        least = min(row[one] for one in with_cpus)
        return tuple(sorted(cpu for one, cpus in with_cpus.items() if row[one] == least for cpu in cpus))


class Disk(NamedTuple):
    """One NVMe controller: ``name`` is ``nvme0``, None without a driver; the rest is as for `Nic`."""

    bdf: str
    name: Optional[str]
    model: Optional[str]
    node: Optional[int]
    source: Source
    paths: tuple[PathWord, ...]


class Attached(NamedTuple):
    """Devices of the machine other than its GPUs, ascending by address."""

    nics: tuple[Nic, ...] = ()
    disks: tuple[Disk, ...] = ()
