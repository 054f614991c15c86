"""Reads the machine from sysfs and procfs below a root: CPUs, nodes, cores and GPUs.

Source: Documentation/ABI/stable/sysfs-devices-node and sysfs-devices-system-cpu, and
Documentation/admin-guide/cputopology.rst. For files that old kernels lack there is a second and a third
source; what is in none of them is None, -1 or empty as `numa_align.topology.model` describes, with a
warning in `Topology.warnings`. Allowed CPUs (cpusets) are not read here: this module
describes the machine, not what a task may use.

The job prolog does this for every job on every node: no directory is listed twice and no file read twice, and
what one file says about several CPUs (siblings, caches, packages) is not read again for each.
"""

from __future__ import annotations

import os

from ..cpulist import format_cpulist
from ..errors import OverrideError, TopologyError
from ..light_typing import TYPE_CHECKING, NamedTuple
from ..slurm_files.gres_index import Indexes, find_gres_conf, slurm_indexes
from ..sysfs import Tree, fields, to_number
from .gpu.find import find_gpus
from .gpu.pci import FoundGpu, bridge_clues, read_clue
from .locality import Placement, place
from .model import Core, Gpu, Node, Topology

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Optional

    from ..names import NodeKind
    from ..sysfs import AnyPath
    from .model import Nic
    from .override import Overrides

#: The site's override file below the root, unless another is named.
OVERRIDE_FILE = "etc/numa-align/override.toml"

_CPUS = "sys/devices/system/cpu"
_NODES = "sys/devices/system/node"
_RDMA = ("sys/class/infiniband", "sys/class/cxi")

# SLIT: 10 is local by definition, 255 unreachable; 20 is what the kernel assumes for remote
# nodes if the firmware has no table.
_LOCAL, _REMOTE, _FARTHEST = 10, 20, 255

# Grace reserves one node for a GPU and seven for its MIG instances, with consecutive numbers.
_NODES_OF_A_GPU = 8

# Firmware of POWER9 machines numbers the nodes of GPU memory downward from 255.
_POWER9_GPU_NODES = range(240, 256)


class _RawNode(NamedTuple):
    """A node as its files describe it; None is a file that is missing or damaged."""

    id: int
    cpus: tuple[int, ...]
    memory_bytes: Optional[int]
    distances: tuple[int, ...]


def read_here(
    environment: Optional[Mapping[str, str]] = None,
    *,
    root: AnyPath = "/",
    override: Optional[AnyPath] = None,
    gres_conf: Optional[AnyPath] = None,
    node_name: Optional[str] = None,
    strict: bool = False,
) -> Topology:
    """The running machine, with Slurm's files and Slurm's name of the node as Slurm itself finds them.

    Missing arguments are taken from ``environment`` (by default this process's): SLURM_CONF, which slurmd
    sets if its file is in an unusual place, and SLURMD_NODENAME, without which Slurm takes the short
    host name as the node's name. A ``root`` other than / is a machine that replaces this one.
    """
    environment = os.environ if environment is None else environment
    if gres_conf is None:
        gres_conf = find_gres_conf(Tree(root), environment.get("SLURM_CONF"))
    name = node_name or name_here(environment)
    return _read(Tree(root), override, gres_conf, name, strict)


def name_here(environment: Mapping[str, str]) -> str:
    """Slurm's name of the running node."""
    return environment.get("SLURMD_NODENAME") or os.uname().nodename.partition(".")[0]


def read_at(
    root: AnyPath,
    *,
    override: Optional[AnyPath] = None,
    gres_conf: Optional[AnyPath] = None,
    node_name: Optional[str] = None,
    strict: bool = False,
) -> Topology:
    """The recorded machine whose file system starts at ``root``.

    ``override`` is the site's file (see `numa_align.topology.override`), by default
    ``etc/numa-align/override.toml`` below the root if there is one; ``gres_conf`` likewise, by
    default in Slurm's usual folders; ``node_name`` is Slurm's name of this node, without which lines
    that begin with ``NodeName=`` cannot be judged.

    Raises nothing but, with ``strict``, OverrideError for a wrong override file, which otherwise is ignored
    with a warning, and TopologyError if there is no machine.
    """
    if strict and not os.path.isdir(root):  # noqa: PTH112 (the prolog does without pathlib)
        raise TopologyError(f"{root}: is not a directory; --root names the one to take for /")
    tree = Tree(root)
    found = find_gres_conf(tree) if gres_conf is None else gres_conf
    return _read(tree, override, found, node_name, strict)


def _read(
    tree: Tree,
    override: Optional[AnyPath],
    gres_conf: Optional[AnyPath],
    node_name: Optional[str],
    strict: bool,
) -> Topology:
    online = _read_online(tree)
    found = find_gpus(tree)
    raw_nodes = _read_nodes(tree, online)
    nodes = tuple(_judge(node, raw_nodes, found) for node in raw_nodes)
    owner, warnings = _node_of_cpu(nodes)
    if strict and not online:
        where = tree.path("").rstrip("/") or "/"
        raise TopologyError(f"{where}: no CPU is described below it; is there a sys/devices/system/cpu?")
    if not online:
        warnings.append("no online CPU can be found")
    machine = Topology(online, nodes, _distances(raw_nodes), _read_cores(tree, online, owner), ())
    overrides = _overrides(tree, override, nodes, strict)
    if overrides is not None:
        warnings += overrides.remarks_on(found)
    indexes = _indexes(tree, gres_conf, node_name, found)
    warnings += indexes.remarks
    gpus = []
    for gpu, index in zip(found, indexes.values):
        overriding = None if overrides is None else overrides.node_of(gpu)
        placement = place(read_clue(tree, gpu.bdf), bridge_clues(tree, gpu.bdf), overriding, nodes, online)
        warnings += _remarks(gpu, placement)
        gpus.append(_gpu(gpu, index, placement, machine))
    whole = machine._replace(gpus=tuple(gpus), warnings=tuple(warnings))
    return whole._replace(nics=_nics(tree, whole))


def _nics(tree: Tree, topology: Topology) -> tuple[Nic, ...]:
    """The cards for RDMA; if there are none, this only fails to find two folders and imports nothing."""
    if not any(tree.exists(path) for path in _RDMA):
        return ()
    from .nic import read_rdma_nics  # noqa: PLC0415

    return read_rdma_nics(tree, topology)


# -- CPUs ------------------------------------------------------------------------------------


def _read_online(tree: Tree) -> tuple[int, ...]:
    """Online CPUs, ascending.

    ``online``, without numbers that no CPU has; on kernels without that file, the CPUs that are not
    marked offline; without any description of CPUs, those that nodes list.
    """
    listed = tree.cpus(f"{_CPUS}/online")
    existing = tree.numbered(_CPUS, "cpu")
    if not existing:
        return listed or ()
    if listed:
        present = set(existing)
        online = tuple(cpu for cpu in listed if cpu in present)
        if online:
            return online
    # A CPU that cannot go offline (often CPU 0) has no such file.
    return tuple(cpu for cpu in existing if tree.number(f"{_CPUS}/cpu{cpu}/online") != 0)


def _read_cores(tree: Tree, online: Sequence[int], node_of_cpu: dict[int, int]) -> tuple[Core, ...]:
    """The cores, each read through its first CPU only."""
    groups = _Groups(tree, online)
    cores = []
    assigned: set[int] = set()
    for cpu in online:
        if cpu in assigned:
            continue
        threads = tuple(sibling for sibling in groups.siblings(cpu) if sibling not in assigned)
        assigned.update(threads)
        cores.append(Core(threads, node_of_cpu.get(cpu), groups.package(cpu), groups.llc(cpu)))
    return tuple(cores)


class _Groups:
    """Which CPUs share a core, a package and a last-level cache; reads each group once."""

    def __init__(self, tree: Tree, online: Sequence[int]) -> None:
        self._tree = tree
        self._online = frozenset(online)
        self._packages: dict[int, int] = {}
        self._llcs: dict[int, int] = {}

    def _online_with(self, cpu: int, listed: Optional[tuple[int, ...]]) -> tuple[int, ...]:
        """The online CPUs of a group; only the CPU itself if it is not in the group."""
        group = tuple(member for member in listed or () if member in self._online)
        return group if cpu in group else (cpu,)

    def siblings(self, cpu: int) -> tuple[int, ...]:
        """The CPUs of this CPU's core. The first two names exist since kernel 5.2."""
        path = f"{_CPUS}/cpu{cpu}/topology"
        listed = self._tree.cpus(
            f"{path}/core_cpus_list",
            f"{path}/thread_siblings_list",
            f"{path}/core_cpus",
            f"{path}/thread_siblings",
        )
        return self._online_with(cpu, listed)

    def package(self, cpu: int) -> int:
        """Number of this CPU's package, -1 if unknown."""
        if cpu not in self._packages:
            path = f"{_CPUS}/cpu{cpu}/topology"
            number = self._tree.number(f"{path}/physical_package_id")
            listed = self._tree.cpus(
                f"{path}/package_cpus_list",
                f"{path}/core_siblings_list",
                f"{path}/package_cpus",
                f"{path}/core_siblings",
            )
            for member in self._online_with(cpu, listed):
                self._packages.setdefault(member, -1 if number is None else number)
        return self._packages[cpu]

    def llc(self, cpu: int) -> int:
        """The lowest CPU that shares this CPU's last-level cache.

        The kernel numbers a CPU's caches outward from the core, so the last one described is
        the last level.
        """
        if cpu not in self._llcs:
            path = f"{_CPUS}/cpu{cpu}/cache"
            group: tuple[int, ...] = (cpu,)
            for index in reversed(self._tree.numbered(path, "index")):
                listed = self._tree.cpus(
                    f"{path}/index{index}/shared_cpu_list", f"{path}/index{index}/shared_cpu_map"
                )
                if listed:
                    group = self._online_with(cpu, listed)
                    break
            for member in group:
                self._llcs.setdefault(member, group[0])
        return self._llcs[cpu]


# -- Nodes -----------------------------------------------------------------------------------


def _read_nodes(tree: Tree, online: Sequence[int]) -> tuple[_RawNode, ...]:
    """The nodes, ascending; one node with everything if the kernel has no nodes."""
    ids = tree.numbered(_NODES, "node")
    if not ids:
        # A kernel without NUMA (many ARM, s390): one node 0, as such a kernel calls it elsewhere.
        return (_RawNode(0, tuple(online), _memory(tree, "proc/meminfo", "MemTotal"), ()),)
    present = frozenset(online)
    nodes = tuple(_read_node(tree, node, present) for node in ids)
    if len(nodes) == 1 and nodes[0].memory_bytes is None:
        return (nodes[0]._replace(memory_bytes=_memory(tree, "proc/meminfo", "MemTotal")),)
    return nodes


def _read_node(tree: Tree, node: int, online: frozenset[int]) -> _RawNode:
    path = f"{_NODES}/node{node}"
    listed = tree.cpus(f"{path}/cpulist", f"{path}/cpumap")
    if listed is None:
        # The directory also has a link for each CPU, and it may have thousands for memory blocks.
        listed = tuple(tree.numbered(path, "cpu"))
    words = (tree.text(f"{path}/distance") or "").split()
    distances = [to_number(word) for word in words]
    valid = tuple(d for d in distances if d is not None and _LOCAL <= d <= _FARTHEST)
    return _RawNode(
        node,
        tuple(cpu for cpu in listed if cpu in online),
        _memory(tree, f"{path}/meminfo", f"Node {node} MemTotal"),
        valid if len(valid) == len(distances) else (),
    )


def _memory(tree: Tree, path: str, name: str) -> Optional[int]:
    """Bytes in a line ``name: N kB``."""
    number, _, unit = fields(tree.text(path)).get(name, "").partition(" ")
    kilobytes = to_number(number)
    return None if kilobytes is None or kilobytes < 0 or unit.strip() != "kB" else kilobytes * 1024


def _judge(node: _RawNode, nodes: Sequence[_RawNode], gpus: Sequence[FoundGpu]) -> Node:
    """The node with its kind.

    A node with CPUs whose memory is unknown is assumed to have some, since nearly all have. A node
    without CPUs is ``gpu-memory`` if a GPU or its number says so, and also if it has no memory:
    on Grace those are reserved for MIG instances, elsewhere for other devices whose memory is
    not online yet. Nothing is ever placed on that kind.
    """
    if node.cpus:
        kind: NodeKind = "cpu-only" if node.memory_bytes == 0 else "cpu"
    elif node.memory_bytes == 0 or _is_gpu_memory(node, nodes, gpus):
        kind = "gpu-memory"
    else:
        kind = "memory"
    return Node(node.id, node.cpus, node.memory_bytes or 0, kind)


def _is_gpu_memory(node: _RawNode, nodes: Sequence[_RawNode], gpus: Sequence[FoundGpu]) -> bool:
    """Whether a node with memory and no CPUs belongs to a GPU."""
    of_gpus = [gpu.memory_node for gpu in gpus if gpu.memory_node is not None]
    if any(first <= node.id < first + _NODES_OF_A_GPU for first in of_gpus):
        return True
    if not any(gpu.vendor == "nvidia" for gpu in gpus):
        return False
    # The driver's own file may be missing, but an NVIDIA GPU with memory nodes shows in other ways.
    with_cpus = [other.id for other in nodes if other.cpus]
    if node.id in _POWER9_GPU_NODES and with_cpus and max(with_cpus) < _POWER9_GPU_NODES[0]:
        return True
    return any(not other.cpus and other.memory_bytes == 0 for other in nodes)


def _distances(nodes: Sequence[_RawNode]) -> tuple[tuple[int, ...], ...]:
    """The matrix for ``nodes`` in their order.

    A row has one number for each online node, ascending. If a row is missing or has another
    length, the column replaces it, then the kernel's own default.
    """
    size = len(nodes)
    rows = [node.distances if len(node.distances) == size else None for node in nodes]

    def distance(i: int, j: int) -> int:
        row, mirrored = rows[i], rows[j]
        if row is not None:
            return row[j]
        if mirrored is not None:
            return mirrored[i]
        return _LOCAL if i == j else _REMOTE

    return tuple(tuple(distance(i, j) for j in range(size)) for i in range(size))


def _node_of_cpu(nodes: Sequence[Node]) -> tuple[dict[int, int], list[str]]:
    """The node of each CPU, the lowest if several list it (broken firmware); and warnings."""
    owner: dict[int, int] = {}
    contested: set[int] = set()
    for node in nodes:
        for cpu in node.cpus:
            if owner.setdefault(cpu, node.id) != node.id:
                contested.add(cpu)
    if not contested:
        return owner, []
    cpus = format_cpulist(contested)
    return owner, [f"several nodes claim CPUs {cpus}; their cores are counted for the lowest node"]


# -- GPUs ------------------------------------------------------------------------------------


def _overrides(
    tree: Tree, path: Optional[AnyPath], nodes: Sequence[Node], strict: bool
) -> Optional[Overrides]:
    """The site's file, checked against the nodes; without entries if it is wrong; None if there is none."""
    if path is None and not tree.exists(OVERRIDE_FILE):
        return None
    from .override import Overrides, read_overrides  # noqa: PLC0415 (most sites have none)

    file = tree.path(OVERRIDE_FILE) if path is None else path
    try:
        return read_overrides(file).checked(nodes)
    except OverrideError as error:
        if strict:
            raise
        return Overrides(str(file), (), f"{error}; the file is ignored")


def _indexes(
    tree: Tree, path: Optional[AnyPath], node_name: Optional[str], gpus: Sequence[FoundGpu]
) -> Indexes:
    """Slurm's index of each GPU."""
    minors = [gpu.minor for gpu in gpus if gpu.vendor == "nvidia" and gpu.minor is not None]
    divided = False
    if minors:
        from .gpu.nvidia import mig_instances  # noqa: PLC0415 (imported anyway where there are any)

        divided = any(mig_instances(tree, minor) for minor in minors)
    return slurm_indexes(tree, path, node_name, gpus, divided)


def _remarks(gpu: FoundGpu, placement: Placement) -> list[str]:
    """Warnings about the place of a GPU."""
    if placement.source == "none":
        return [
            f"GPU {gpu.bdf}: its NUMA node is unknown: {placement.remark}; "
            "if you know it, enter it in the override file"
        ]
    if placement.remark:
        return [f"GPU {gpu.bdf}: the override file says node {placement.node}, {placement.remark}"]
    return []


def _gpu(found: FoundGpu, index: Optional[int], placement: Placement, machine: Topology) -> Gpu:
    """The GPU with everything that follows from its node: the CPUs and the memory nearest to it."""
    cpus: tuple[int, ...] = ()
    memory_nodes: tuple[int, ...] = ()
    if placement.node is not None:
        cpus = machine.nearest_cpus(placement.node)
        memory = _nearest(machine, placement.node, _host_memory(machine.nodes))
        memory_nodes = () if memory is None else (memory.id,)
    return Gpu(
        vendor=found.vendor,
        bdf=found.bdf,
        minor=found.minor,
        uuid=found.uuid,
        model=found.model,
        index=index,
        node=placement.node,
        source=placement.source,
        cpus=cpus,
        memory_nodes=memory_nodes,
        device=found.device,
    )


def _host_memory(nodes: Sequence[Node]) -> list[Node]:
    """The nodes for host memory: those with CPUs and memory, else those of HBM or CXL."""
    for kind in ("cpu", "memory"):
        of_kind = [node for node in nodes if node.kind == kind]
        if of_kind:
            return of_kind
    return []


def _nearest(machine: Topology, start: int, wanted: Sequence[Node]) -> Optional[Node]:
    """Node ``start`` if it is among ``wanted``, else the nearest of these, the lowest if several are."""
    ids = [node.id for node in machine.nodes]
    row = machine.distances[ids.index(start)]
    return min(wanted, key=lambda node: (node.id != start, row[ids.index(node.id)], node.id), default=None)
