"""Which COUNT GPUs of a machine are best used together, and why. Pure but for the PCI tree below ``root``.

Criteria in order: as few NUMA nodes as possible, nodes near each other, the same number on each node,
as many pairs as possible behind one switch, the lowest addresses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Optional

from ..errors import RequestError
from ..sysfs import Tree
from ..topology.gpu.pci import route
from ..topology.model import Gpu, Topology

#: Up to this many subsets of a node's GPUs are tried; above, the lowest addresses are taken.
_TRIES = 20000


@dataclass(frozen=True)
class Best:
    """``gpus`` are ascending by address; ``reasons`` are sentences."""

    gpus: tuple[Gpu, ...]
    reasons: tuple[str, ...]


def bridges_of(gpu: Gpu, root: str = "/") -> tuple[str, ...]:
    """The bridges above a GPU from the root bus down, as sysfs nests them; () if it does not."""
    return route(Tree(root), gpu.bdf)[:-1]


def behind_one_switch(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether two GPUs share a bridge below the root bus, so that their traffic can stay below it."""
    return len(a) > 1 and len(b) > 1 and a[1] == b[1]


def choose(topology: Topology, count: int, gpus: Sequence[Gpu], bridges: Mapping[str, Sequence[str]]) -> Best:
    """The best ``count`` of ``gpus``; ``bridges`` are by address. Raises RequestError if there are fewer."""
    if not gpus:
        raise RequestError("this machine has no GPU that this process may use")
    if count > len(gpus):
        raise RequestError(f"there are {len(gpus)} GPUs that this process may use, not {count}")
    by_node: dict[Optional[int], list[Gpu]] = {}
    for gpu in gpus:
        by_node.setdefault(gpu.node, []).append(gpu)
    nodes = _choose_nodes(topology, count, by_node)
    shares = _shares(count, [len(by_node[node]) for node in nodes])
    chosen: list[Gpu] = []
    for node, share in zip(nodes, shares):
        chosen += _together(by_node[node], share, bridges)
    order = {gpu.bdf: i for i, gpu in enumerate(topology.gpus)}
    chosen.sort(key=lambda gpu: order[gpu.bdf])
    return Best(tuple(chosen), _reasons(nodes, shares, chosen, by_node, bridges))


def _choose_nodes(
    topology: Topology, count: int, by_node: Mapping[Optional[int], Sequence[Gpu]]
) -> tuple[Optional[int], ...]:
    known = sorted(node for node in by_node if node is not None)
    for size in range(1, len(known) + 1):
        fitting = [c for c in combinations(known, size) if sum(len(by_node[n]) for n in c) >= count]
        if fitting:
            nearest: tuple[int, ...] = min(
                fitting, key=lambda c: (_spread(topology, c), max(_shares(count, _sizes(by_node, c))), c)
            )
            return nearest
    # Not possible without GPUs whose node is unknown.
    return (*known, None)


def _sizes(by_node: Mapping[Optional[int], Sequence[Gpu]], nodes: Sequence[Optional[int]]) -> list[int]:
    return [len(by_node[node]) for node in nodes]


def _spread(topology: Topology, nodes: Sequence[int]) -> int:
    order = {node.id: i for i, node in enumerate(topology.nodes)}
    return sum(topology.distances[order[a]][order[b]] for a, b in combinations(nodes, 2))


def _shares(count: int, sizes: Sequence[int]) -> list[int]:
    """``count`` distributed evenly, with no node above its size."""
    shares = [0] * len(sizes)
    for _ in range(count):
        free = [i for i, size in enumerate(sizes) if shares[i] < size]
        shares[min(free, key=lambda i: (shares[i], i))] += 1
    return shares


def _together(gpus: Sequence[Gpu], count: int, bridges: Mapping[str, Sequence[str]]) -> list[Gpu]:
    best: Optional[tuple[Gpu, ...]] = None
    most = -1
    for tried, some in enumerate(combinations(gpus, count)):
        if tried >= _TRIES:
            break
        pairs = _switch_pairs(some, bridges)
        if pairs > most:
            best, most = some, pairs
    return list(best or ())


def _switch_pairs(gpus: Sequence[Gpu], bridges: Mapping[str, Sequence[str]]) -> int:
    return sum(behind_one_switch(bridges[a.bdf], bridges[b.bdf]) for a, b in combinations(gpus, 2))


def _reasons(
    nodes: Sequence[Optional[int]],
    shares: Sequence[int],
    chosen: Sequence[Gpu],
    by_node: Mapping[Optional[int], Sequence[Gpu]],
    bridges: Mapping[str, Sequence[str]],
) -> tuple[str, ...]:
    reasons = []
    if len(nodes) == 1 and nodes[0] is not None:
        reasons.append(f"all on node {nodes[0]}: no copy between them or from memory crosses nodes")
    elif len(nodes) > 1:
        most = max(len(gpus) for node, gpus in by_node.items() if node is not None)
        split = "+".join(map(str, shares))
        where = ", ".join("unknown" if node is None else str(node) for node in nodes)
        reasons.append(f"no node has {len(chosen)} GPUs ({most} at most): {split} on nodes {where}")
        if len(set(shares)) > 1:
            fitting = max(n for n in range(1, len(chosen)) if n <= most or n % len(nodes) == 0)
            reasons.append(
                f"the nodes get different numbers; {fitting} would be divided evenly or fit on one node"
            )
    pairs, all_pairs = _switch_pairs(chosen, bridges), len(chosen) * (len(chosen) - 1) // 2
    if pairs:
        reasons.append(f"{pairs} of {all_pairs} pairs are behind one PCI switch")
    if any(gpu.node is None for gpu in chosen):
        which = "some of them" if any(gpu.node is not None for gpu in chosen) else "these GPUs"
        reasons.append(f"the NUMA node of {which} is unknown (numa-align topo): use the override file")
    return tuple(reasons)
