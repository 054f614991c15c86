"""Sockets and cores as Slurm numbers them, and those near a GPU.

Slurm's core numbers are abstract: slurmd walks hwloc's objects, sockets first, and counts the cores
below each (xcpuinfo_hwloc_topo_get). hwloc orders objects by their lowest CPU at every level, a larger object
above a smaller one. With numa_node_as_socket, slurmd takes as sockets what is directly above the NUMA nodes,
with l3cache_as_socket the L3 caches.

slurmd's map from these numbers to Linux CPUs is only right if the online CPUs are 0 to n-1 and all sockets
and cores are of equal size; otherwise no Cores= is better than a wrong one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Callable, Optional

from numa_align.topology.contradictions import nodes_cut_packages
from numa_align.topology.model import Core, Gpu, Topology

from .version import Version

#: The word in SlurmdParameters (or Parameters) for each kind of socket.
PARAMETERS = {"package": None, "numa": "numa_node_as_socket", "l3": "l3cache_as_socket"}

_NAMES = {"package": "a package", "numa": "a NUMA node", "l3": "an L3 cache"}


@dataclass(frozen=True)
class Layout:
    """A machine as Slurm counts it.

    ``sockets`` have their cores in abstract order: the first core of the first socket is core 0. ``kind`` is
    a key of `PARAMETERS`. ``flaw`` says why core numbers are unreliable, None if they are not.
    """

    kind: str
    sockets: tuple[tuple[Core, ...], ...]
    flaw: Optional[str] = None

    @cached_property
    def cores(self) -> tuple[Core, ...]:
        """All cores, each at the position that is its abstract number."""
        return tuple(core for socket in self.sockets for core in socket)

    @property
    def cores_per_socket(self) -> int:
        """As slurmd counts them: by division."""
        return len(self.cores) // len(self.sockets)

    @property
    def threads(self) -> int:
        """Threads per core, as slurmd counts them: by division, 1 if some cores have one and some two."""
        return self.cpus // len(self.cores)

    @property
    def cpus(self) -> int:
        """All hardware threads that are online."""
        return sum(len(core.cpus) for core in self.cores)

    @property
    def is_even(self) -> bool:
        """Whether sockets, cores and threads multiply to the CPUs: else Slurm refuses CPUs= beside them."""
        return len(self.sockets) * self.cores_per_socket * self.threads == self.cpus

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sockets, cores per socket, threads per core: what slurm.conf has to declare."""
        return len(self.sockets), self.cores_per_socket, self.threads

    @property
    def socket_name(self) -> str:
        """The kind of a socket here: ``a NUMA node``."""
        return _NAMES[self.kind]

    def numbers(self, cpus: Iterable[int]) -> tuple[int, ...]:
        """The abstract numbers of the cores that have one of these CPUs, ascending."""
        wanted = set(cpus)
        return tuple(n for n, core in enumerate(self.cores) if not wanted.isdisjoint(core.cpus))

    def sockets_of(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """The sockets of these abstract cores, ascending."""
        return tuple(sorted({number // self.cores_per_socket for number in numbers}))

    def whole(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """All cores of the sockets that have one of these abstract cores."""
        size = self.cores_per_socket
        return tuple(
            core for socket in self.sockets_of(numbers) for core in range(socket * size, (socket + 1) * size)
        )


def accepted(layout: Layout, numbers: tuple[int, ...], version: Version) -> Optional[str]:
    """Why this version refuses these Cores=; None if it accepts them.

    Source: _check_core_range_matches_sock, in slurmctld since 24.11, stricter since 25.11.
    """
    if not numbers or numbers[-1] >= len(layout.cores):
        return (
            f"core {numbers[-1] if numbers else '?'} does not exist: the cores are 0-{len(layout.cores) - 1}"
        )
    if version.checks_sockets and layout.whole(numbers) != numbers:
        return (
            f"they are not whole sockets of {layout.cores_per_socket} cores, which Slurm {version} insists on"
        )
    several = len(layout.sockets_of(numbers)) > 1 and len(numbers) != len(layout.cores)
    if version.wants_one_socket and several:
        return f"they are more than one socket and not all cores, which Slurm {version} refuses"
    return None


def layout_of(machine: Topology, kind: str) -> Layout:
    """The machine with sockets of this kind."""
    ordered = _in_hwloc_order(machine.cores)
    by: dict[str, Callable[[Core], object]] = {
        "package": lambda core: core.package,
        "numa": lambda core: core.node,
        "l3": lambda core: core.llc,
    }
    sockets: dict[object, list[Core]] = {}
    for core in ordered:
        sockets.setdefault(by[kind](core), []).append(core)
    # Nodes may span packages, and packages nodes: sockets are in the order of their lowest CPU.
    rows = sorted(sockets.values(), key=lambda cores: min(core.cpus[0] for core in cores))
    layout = Layout(kind, tuple(map(tuple, rows)))
    return Layout(kind, layout.sockets, _flaw(machine, layout))


def _in_hwloc_order(cores: Iterable[Core]) -> list[Core]:
    """Packages by lowest CPU; within them nodes and caches, the larger above the smaller; then cores."""
    every = list(cores)

    def first(key: Callable[[Core], object]) -> Callable[[Core], int]:
        lowest: dict[object, int] = {}
        for core in every:
            lowest[key(core)] = min(core.cpus[0], lowest.get(key(core), core.cpus[0]))
        return lambda core: lowest[key(core)]

    package = first(lambda core: core.package)
    node = first(lambda core: (core.package, core.node))
    llc = first(lambda core: (core.package, core.llc))
    if len({core.llc for core in every}) < len({core.node for core in every}):
        node, llc = llc, node
    return sorted(every, key=lambda core: (package(core), node(core), llc(core), core.cpus[0]))


def _flaw(machine: Topology, layout: Layout) -> Optional[str]:
    threads = sorted({len(core.cpus) for core in machine.cores})
    if nodes_cut_packages(machine):
        return (
            "NUMA nodes and packages contradict each other, as in a virtual machine whose nodes cut across "
            "its sockets: hwloc, by which Slurm counts, ignores such nodes"
        )
    if machine.online != tuple(range(len(machine.online))):
        return "CPUs are offline or numbered with gaps, and slurmd's map of cores to CPUs is wrong then"
    if len(threads) > 1:
        return f"cores have {threads[0]} to {threads[-1]} threads, and slurmd counts them by division"
    return _flaw_of_sockets(machine, layout)


def _flaw_of_sockets(machine: Topology, layout: Layout) -> Optional[str]:
    sizes = sorted({len(socket) for socket in layout.sockets})
    if (
        layout.kind == "package"
        and len(machine.nodes) > 1
        and any(core.package < 0 for core in machine.cores)
    ):
        return "the kernel does not number the packages (physical_package_id is -1), by which Slurm counts"
    if layout.kind == "l3" and layout.cores_per_socket == 1:
        return "no cache that cores share is described"
    if len(sizes) > 1:
        return f"{layout.socket_name} has {sizes[0]} to {sizes[-1]} cores, and slurmd counts them by division"
    return None


def choose_kind(machine: Topology, version: Version) -> str:
    """The kind of socket with which this version accepts the GPUs' cores.

    Packages if that is precise; else NUMA nodes; else, if several sockets are accepted, L3 caches; else
    packages, which is coarser.
    """
    for kind in PARAMETERS:
        layout = layout_of(machine, kind)
        if layout.flaw is None and all(_precise(layout, gpu, version) for gpu in machine.gpus):
            return kind
    return "package"


def _precise(layout: Layout, gpu: Gpu, version: Version) -> bool:
    numbers = layout.numbers(gpu.cpus)
    if not numbers:
        return True
    # Before 24.11 nothing is checked, but the scheduler works with whole sockets nevertheless.
    return layout.whole(numbers) == numbers and accepted(layout, numbers, version) is None


@dataclass(frozen=True)
class GpuCores:
    """Cores= of a GPU: abstract numbers, and a remark about them (None: no remark)."""

    numbers: tuple[int, ...]
    remark: Optional[str] = None


def cores_of(layout: Layout, gpu: Gpu, version: Version) -> GpuCores:
    """The cores near a GPU, in a form that this version accepts: whole sockets, or all cores."""
    everything = tuple(range(len(layout.cores)))
    exact = layout.numbers(gpu.cpus)
    if not exact:
        return GpuCores(everything, "its NUMA node is not known: every core counts as near")
    whole = layout.whole(exact)
    if accepted(layout, whole, version) is not None:
        return GpuCores(
            everything, f"its cores span sockets, which Slurm {version} refuses: all count as near"
        )
    if whole != exact:
        return GpuCores(
            whole, f"Slurm places by whole sockets: {len(exact)} of these {len(whole)} cores are near"
        )
    return GpuCores(whole)


def restricted_at_most(layout: Layout, gpus: Iterable[Gpu]) -> int:
    """The greatest RestrictedCoresPerGPU= of a node: cores for each GPU alone, among those near it.

    0 if a GPU has no core nearer than others, as Slurm requires Cores= that tell them apart. Source:
    _set_gpu_spec in src/slurmctld/node_mgr.c, "doesn't have access to that many unique cores".
    """
    groups: dict[tuple[int, ...], int] = {}
    for gpu in gpus:
        numbers = layout.numbers(gpu.cpus) if layout.flaw is None else ()
        groups[numbers] = groups.get(numbers, 0) + 1
    return min((len(numbers) // count for numbers, count in groups.items()), default=0)
