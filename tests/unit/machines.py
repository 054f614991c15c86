"""Machines of any shape as hypothesis strategies, and the claim's notion of near, written anew.

The builder makes machines as they are sold; these include all others: nodes of different sizes,
without CPUs or without memory, numbers with gaps, distances that make no sense.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Optional

from hypothesis import strategies as st
from numa_align.names import NodeKind, Source
from numa_align.topology.model import Core, Gpu, Node, Topology

GIB = 1 << 30


@dataclass(frozen=True)
class Shape:
    """How big a machine is at most, and how regular it is."""

    packages: int = 4
    nodes: int = 4
    cores: int = 6
    smt: int = 4
    gpus: int = 8


#: Shrinks well; and the largest that is promised: 64 nodes, 1024 CPUs, SMT 8, 16 GPUs.
SMALL = Shape()
LARGE = Shape(packages=8, nodes=16, cores=32, smt=8, gpus=16)

MAX_NODES, MAX_CPUS = 64, 1024


def _distances(rng: random.Random, packages: Sequence[int], kind: str) -> tuple[tuple[int, ...], ...]:
    count = len(packages)
    if kind == "regular":
        return tuple(
            tuple(10 if a == b else 12 if packages[a] == packages[b] else 32 for b in range(count))
            for a in range(count)
        )
    values = (11, 12, 21, 40) if kind == "ties" else range(256)
    rows = [[rng.choice(values) for _ in range(count)] for _ in range(count)]
    if kind != "nonsense":
        for a in range(count):
            rows[a][a] = 10
            for b in range(a):
                rows[a][b] = rows[b][a]
    return tuple(map(tuple, rows))


def _cores(rng: random.Random, ids: Sequence[int], packages: Sequence[int], shape: Shape) -> list[Core]:
    even = rng.choice((0, rng.randint(1, shape.cores)))
    smt = rng.choice((1, 2, rng.randint(1, shape.smt)))
    plan: list[tuple[int, int, int, int]] = []  # node, package, cache, threads
    cpus = 0
    for node, package in zip(ids, packages):
        size = even or rng.choice((0, 1, rng.randint(0, shape.cores)))
        cache = rng.randint(1, max(size, 1))
        for core in range(size):
            threads = smt if rng.random() < 0.95 else rng.randint(1, smt)
            if cpus + threads <= MAX_CPUS:
                plan.append((node, package, core // cache, threads))
                cpus += threads
    if not plan:
        plan, cpus = [(ids[0], packages[0], 0, 1)], 1
    numbers = rng.sample(range(cpus + rng.choice((0, 9))), cpus)
    if rng.random() < 0.7:
        numbers.sort()
    threads_of = []
    for _, _, _, threads in plan:
        threads_of.append(tuple(sorted(numbers[:threads])))
        del numbers[:threads]
    first: dict[tuple[int, int], int] = {}
    lost = rng.choice(ids) if rng.random() < 0.05 else None  # a node that the kernel says nothing about
    for (node, _, cache, _), mine in zip(plan, threads_of):
        first[node, cache] = min(mine[0], first.get((node, cache), mine[0]))
    return sorted(
        (
            Core(mine, None if node == lost else node, package, first[node, cache])
            for (node, package, cache, _), mine in zip(plan, threads_of)
        ),
        key=lambda core: core.cpus,
    )


def _gpus(rng: random.Random, count: int, nodes: Sequence[Node]) -> tuple[Gpu, ...]:
    known = [node.id for node in nodes if node.kind != "gpu-memory"]
    few = rng.sample(known, min(len(known), rng.choice((1, 2, 4, len(known)))))
    gpus = []
    for i in range(count):
        node: Optional[int] = None if rng.random() < 0.03 else rng.choice(few)
        source: Source = "none" if node is None else "numa_node"
        gpus.append(
            Gpu("nvidia", f"0000:{i + 1:02x}:00.0", count - 1 - i, f"GPU-{i:08x}", None, i, node, source,
                (), (), None)
        )  # fmt: skip
    return tuple(gpus)


def build(*, seed: int, packages: int, nodes: int, gpus: int, kind: str, shape: Shape) -> Topology:
    """A machine: its size as given, its details by chance."""
    rng = random.Random(seed)
    count = min(packages * nodes, MAX_NODES)
    ids = sorted(rng.sample(range(count + rng.choice((0, 0, 5))), count))
    of_package = [i * packages // count for i in range(count)]
    if rng.random() < 0.2:
        rng.shuffle(of_package)
    if rng.random() < 0.05:
        of_package = [-1] * count
    cores = _cores(rng, ids, of_package, shape)
    with_cpus: dict[int, list[int]] = {}
    for core in cores:
        if core.node is not None:
            with_cpus.setdefault(core.node, []).extend(core.cpus)
    found = []
    without_cpus: tuple[NodeKind, ...] = ("memory", "gpu-memory")
    for node in ids:
        here = tuple(sorted(with_cpus.get(node, ())))
        node_kind = ("cpu" if rng.random() < 0.9 else "cpu-only") if here else rng.choice(without_cpus)
        found.append(Node(node, here, 0 if node_kind == "cpu-only" else rng.randint(1, 64) * GIB, node_kind))
    if all(node.kind == "gpu-memory" for node in found):
        found[0] = Node(found[0].id, found[0].cpus, GIB, "memory")
    online = tuple(sorted(cpu for core in cores for cpu in core.cpus))
    return Topology(
        online, tuple(found), _distances(rng, of_package, kind), tuple(cores), _gpus(rng, gpus, found)
    )


def topologies(shape: Shape = SMALL) -> st.SearchStrategy[Topology]:
    return st.builds(
        build,
        seed=st.integers(0, 2**32 - 1),
        packages=st.integers(1, shape.packages),
        nodes=st.integers(1, shape.nodes),
        gpus=st.integers(0, shape.gpus),
        kind=st.sampled_from(("regular", "ties", "any", "nonsense")),
        shape=st.just(shape),
    )


@st.composite
def subsets(draw: st.DrawFn, topology: Topology) -> tuple[int, ...]:
    """CPUs of a step: all, some nodes, some cores, or some threads."""
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    by = draw(st.sampled_from(("all", "nodes", "cores", "threads")))
    keep = draw(st.sampled_from((0.1, 0.5, 0.9)))
    if by == "all":
        return topology.online
    if by == "threads":
        return tuple(cpu for cpu in topology.online if rng.random() < keep)
    if by == "cores":
        chosen = [core for core in topology.cores if rng.random() < keep]
    else:
        nodes = {node.id for node in topology.nodes if rng.random() < keep}
        chosen = [core for core in topology.cores if core.node in nodes]
    return tuple(sorted(cpu for core in chosen for cpu in core.cpus))


@dataclass(frozen=True)
class Near:
    """What is near what on a machine, according to the design."""

    topology: Topology

    @cached_property
    def position(self) -> dict[int, int]:
        return {node.id: i for i, node in enumerate(self.topology.nodes)}

    @cached_property
    def core_of(self) -> dict[int, Core]:
        return {cpu: core for core in self.topology.cores for cpu in core.cpus}

    def distance(self, a: int, b: int) -> int:
        return self.topology.distances[self.position[a]][self.position[b]]

    def nearest_with_cpus(self, home: int) -> list[int]:
        """The node itself if it has CPUs, otherwise the nearest that have some."""
        nodes = [node.id for node in self.topology.nodes if node.cpus]
        if home in nodes:
            return [home]
        nearest = min((self.distance(home, node) for node in nodes), default=0)
        return [node for node in nodes if self.distance(home, node) == nearest]

    @cached_property
    def packages(self) -> dict[int, frozenset[int]]:
        of = {
            node.id: frozenset(core.package for core in self.topology.cores if core.node == node.id)
            for node in self.topology.nodes
        }
        return {
            node.id: frozenset().union(*(of[near] for near in self.nearest_with_cpus(node.id)))
            for node in self.topology.nodes
        }

    @cached_property
    def with_cpus(self) -> set[int]:
        return {node.id for node in self.topology.nodes if node.cpus}

    def same_place(self, home: int, node: int) -> bool:
        """A common package and, if both have CPUs, a distance below 20."""
        if home == node:
            return True
        if not (self.packages[home] & self.packages[node]) - {-1}:
            return False
        return not {home, node} <= self.with_cpus or self.distance(home, node) < 20

    def local(self, home: int) -> set[int]:
        """The CPUs that count as near to a GPU on this node."""
        nodes = set(self.nearest_with_cpus(home))
        if home in self.with_cpus:
            with_gpu = {gpu.node for gpu in self.topology.gpus}
            nodes |= {
                n.id for n in self.topology.nodes if n.id not in with_gpu and self.same_place(home, n.id)
            }
        return {cpu for node in self.topology.nodes if node.id in nodes for cpu in node.cpus}

    def rank(self, home: int, node: Optional[int]) -> tuple[bool, bool, int]:
        """Smaller is nearer: itself, then its place, then others, each by distance; then unknown."""
        if home == node:
            return (False, False, 0)
        if node is None:
            return (True, True, 255)
        return (True, not self.same_place(home, node), self.distance(home, node))
