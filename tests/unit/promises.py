"""What is promised of every claim and of every placement, as checks for any machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Optional

from numa_align.placement.claim import ClaimMachine, Placement
from numa_align.placement.plan import Plan
from numa_align.topology.model import Topology
from unit.machines import Near

Slices = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Case:
    """A machine, a step's CPUs, and the claimants' nodes."""

    topology: Topology
    cpus: tuple[int, ...]
    homes: tuple[Optional[int], ...]

    @cached_property
    def near(self) -> Near:
        return Near(self.topology)

    @cached_property
    def slices(self) -> Slices:
        return self.claim(self.cpus)

    def claim(self, cpus: Sequence[int]) -> Slices:
        return ClaimMachine.of(self.topology).claim(cpus, self.homes)

    @cached_property
    def live(self) -> list[int]:
        return [claimant for claimant, home in enumerate(self.homes) if home is not None]

    def cores(self, cpus: Sequence[int]) -> set[tuple[int, ...]]:
        return {self.near.core_of[cpu].cpus for cpu in cpus}

    def node(self, cpu: int) -> Optional[int]:
        return self.near.core_of[cpu].node

    def home(self, claimant: int) -> int:
        home = self.homes[claimant]
        assert home is not None
        return home

    @cached_property
    def whole_cores(self) -> bool:
        return len(self.cores(self.cpus)) >= len(self.live)


def check_within_step(case: Case) -> None:
    for claimant, cpus in enumerate(case.slices):
        assert set(cpus) <= set(case.cpus)
        assert case.homes[claimant] is not None or not cpus


def check_nobody_is_empty(case: Case) -> None:
    for claimant in case.live:
        assert case.slices[claimant] or not case.cpus


def check_disjoint(case: Case) -> None:
    """If there are enough CPUs; otherwise no CPU has more claimants than necessary."""
    holders = Counter(cpu for cpus in case.slices for cpu in cpus)
    most = max(holders.values(), default=0)
    assert most <= max(1, -(-len(case.live) // max(1, len(case.cpus))))


def check_siblings_together(case: Case) -> None:
    if not case.whole_cores:
        return
    for cpus in case.slices:
        for core in case.cores(cpus):
            assert set(core) & set(case.cpus) <= set(cpus)


def check_equals_are_even(case: Case) -> None:
    sizes: dict[int, set[int]] = {}
    for claimant in case.live:
        sizes.setdefault(case.home(claimant), set()).add(len(case.cores(case.slices[claimant])))
    for found in sizes.values():
        assert max(found) - min(found) <= 1


def check_nearest_first(case: Case) -> None:
    """No claimant has a far core while a nearer one is unused or belongs to one that is farther from it."""
    held = {claimant: {case.node(cpu) for cpu in case.slices[claimant]} for claimant in case.live}
    used = {cpu for cpus in case.slices for cpu in cpus}
    unused = {case.node(cpu) for cpu in case.cpus if cpu not in used}
    holders: dict[Optional[int], set[int]] = {}
    for claimant, nodes in held.items():
        for node in nodes:
            holders.setdefault(node, set()).add(case.home(claimant))
    for home, mine in {(case.home(c), frozenset(nodes)) for c, nodes in held.items() if nodes}:
        farthest = max(case.near.rank(home, node) for node in mine)
        for node in unused | holders.keys():
            rank = case.near.rank(home, node)
            if rank < farthest:
                assert node not in unused
                assert all(case.near.rank(other, node) <= rank for other in holders[node])


def check_no_core_idle_near_a_claimant(case: Case) -> None:
    """And none is unused if two claimants have to share one."""
    used = {core for cpus in case.slices for core in case.cores(cpus)}
    idle = case.cores(case.cpus) - used
    if not case.live:
        return
    if not case.whole_cores:
        assert not idle
    for node in {case.near.core_of[core[0]].node for core in idle} - {None}:
        assert node is not None
        assert not any(case.near.same_place(case.home(c), node) for c in case.live)


CHECKS = (
    check_within_step,
    check_nobody_is_empty,
    check_disjoint,
    check_siblings_together,
    check_equals_are_even,
    check_nearest_first,
    check_no_core_idle_near_a_claimant,
)


def check(case: Case) -> None:
    for holds in CHECKS:
        holds(case)


def local_cpus(topology: Topology, gpus: tuple[int, ...]) -> set[int]:
    near = Near(topology)
    homes = [topology.gpus[gpu].node for gpu in gpus]
    return set().union(*(near.local(home) for home in homes if home is not None))


def check_state(topology: Topology, placement: Placement) -> None:
    unknown = [gpu for gpu in placement.gpus if topology.gpus[gpu].node is None]
    near = set(placement.cpus) & local_cpus(topology, placement.gpus)
    aligned = set(placement.cpus) == near and near and not unknown
    # mem=interleave-all, and nothing else, takes memory away from the GPUs.
    spread = "spreads its memory over NUMA nodes" in (placement.reason or "")
    assert not spread or placement.policy == "interleave"
    if not placement.gpus:
        assert placement.state == "aligned"
    elif placement.state == "aligned":
        assert aligned
    elif placement.state == "partial":
        assert near and not (aligned and not spread)
    elif placement.state == "memory-only":
        assert not near and placement.sets_memory and placement.policy not in ("local", "default")
    else:
        assert placement.state == "unaligned" and not (near and len(unknown) < len(placement.gpus))
    if placement.state != "aligned":
        assert placement.reason and placement.advice
    else:
        assert placement.reason is None


def check_memory(topology: Topology, placement: Placement, mems: set[int]) -> None:
    near = Near(topology)
    kinds = {node.kind for node in topology.nodes}
    kind = "cpu" if "cpu" in kinds else "memory"
    usable = {node.id for node in topology.nodes if node.kind == kind and node.id in mems}
    assert set(placement.memory_nodes) <= usable
    for home in {topology.gpus[gpu].node for gpu in placement.gpus} - {None}:
        assert home is not None
        if usable:
            nearest = min(near.rank(home, node) for node in usable)
            assert any(near.rank(home, node) == nearest for node in placement.memory_nodes)
    assert placement.policy != "preferred", "a full page cache would send its memory elsewhere"
    assert placement.sets_memory == (placement.policy != "default")


def check_placements(topology: Topology, plan: Plan) -> None:
    request, near = plan.request, Near(topology)
    mems = {node.id for node in topology.nodes}
    for placement in plan.placements:
        assert set(placement.cpus) <= set(request.cpus)
        check_state(topology, placement)
        check_memory(topology, placement, mems)
        if placement.binds_cpus and not request.spec.smt:
            cores = [near.core_of[cpu] for cpu in placement.cpus]
            assert len(cores) == len(set(cores))


def _homes(topology: Topology, placement: Placement) -> tuple[int, ...]:
    homes = [topology.gpus[gpu].node for gpu in placement.gpus]
    return tuple(sorted(home for home in homes if home is not None))


def check_tasks(topology: Topology, plan: Plan) -> None:
    """What is promised of tasks whose GPUs are all on known nodes, with ``cpus=slice``."""
    near = Near(topology)
    cores = {near.core_of[cpu].cpus for cpu in plan.request.cpus}
    held = [{near.core_of[cpu].cpus for cpu in placement.cpus} for placement in plan.placements]
    holders = Counter(core for mine in held for core in mine)
    idle = cores - holders.keys()
    if len(held) <= len(cores):
        assert max(holders.values()) == 1, "no core has two tasks while there are cores for all"
    else:
        assert not idle, "no core has two tasks while another idles"
    sizes: dict[tuple[int, ...], set[int]] = {}
    for mine, placement in zip(held, plan.placements):
        sizes.setdefault(_homes(topology, placement), set()).add(len(mine))
    for found in sizes.values():
        assert max(found) - min(found) <= 1, "equals differ by one core at most"
    for mine, placement in zip(held, plan.placements):
        homes = _homes(topology, placement)
        farthest = max(_rank(near, homes, core) for core in mine)
        assert not any(_rank(near, homes, core) < farthest for core in idle), "a nearer core idles"


def _rank(near: Near, homes: Sequence[int], core: tuple[int, ...]) -> tuple[bool, bool, int]:
    return min(near.rank(home, near.core_of[core[0]].node) for home in homes)
