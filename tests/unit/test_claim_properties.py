"""What holds for every claim, on machines of any shape."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Optional

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numa_align.claim import Machine
from numa_align.model import Topology
from unit.machines import LARGE, SMALL, Near, Shape, subsets, topologies

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
        return Machine.of(self.topology).claim(cpus, self.homes)

    @cached_property
    def live(self) -> list[int]:
        return [claimant for claimant, home in enumerate(self.homes) if home is not None]

    def cores(self, cpus: Sequence[int]) -> set[tuple[int, ...]]:
        return {self.near.core_of[cpu].cpus for cpu in cpus}

    def node(self, cpu: int) -> int:
        node = self.near.core_of[cpu].node
        assert node is not None
        return node

    def home(self, claimant: int) -> int:
        home = self.homes[claimant]
        assert home is not None
        return home

    @cached_property
    def whole_cores(self) -> bool:
        return len(self.cores(self.cpus)) >= len(self.live)

    def units(self, cpus: Sequence[int]) -> int:
        """What is dealt out and counted: cores while they suffice, then CPUs."""
        return len(self.cores(cpus)) if self.whole_cores else len(cpus)


def case_of(draw: st.DrawFn, shape: Shape, tasks: int) -> Case:
    topology = draw(topologies(shape))
    cpus = draw(subsets(topology))
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    nodes = [node.id for node in topology.nodes]
    few = rng.sample(nodes, min(len(nodes), draw(st.integers(1, 8))))
    homes: list[Optional[int]] = [rng.choice(few) for _ in range(draw(st.integers(1, tasks)))]
    if draw(st.booleans()):
        homes.sort(key=lambda home: home or 0)
    if draw(st.integers(0, 9)) == 0:
        homes[rng.randrange(len(homes))] = None
    return Case(topology, cpus, tuple(homes))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    return case_of(draw, SMALL, 12)


@st.composite
def large_cases(draw: st.DrawFn) -> Case:
    return case_of(draw, LARGE, 256)


def check_within_step(case: Case) -> None:
    for claimant, cpus in enumerate(case.slices):
        assert set(cpus) <= set(case.cpus)
        assert case.homes[claimant] is not None or not cpus


def check_nobody_is_empty(case: Case) -> None:
    for claimant in case.live:
        assert case.slices[claimant] or not case.cpus


def check_disjoint(case: Case) -> None:
    """While there are CPUs enough; after that no CPU has more claimants than it must."""
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
        sizes.setdefault(case.home(claimant), set()).add(case.units(case.slices[claimant]))
    for found in sizes.values():
        assert max(found) - min(found) <= 1


def check_nearest_first(case: Case) -> None:
    """Nobody holds a far core while a nearer one is unused or with somebody who is farther from it."""
    held = {claimant: {case.node(cpu) for cpu in case.slices[claimant]} for claimant in case.live}
    used = {cpu for cpus in case.slices for cpu in cpus}
    unused = {case.node(cpu) for cpu in case.cpus if cpu not in used}
    holders: dict[int, set[int]] = {}
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
    if len(case.cpus) < len(case.live):
        return
    claimed = frozenset().union(*(case.near.packages[case.home(c)] for c in case.live))
    used = {cpu for cpus in case.slices for cpu in cpus}
    for cpu in set(case.cpus) - used:
        assert not case.near.packages[case.node(cpu)] & claimed


def check_other_packages_are_a_last_resort(case: Case) -> None:
    """Who has a core of a package of its own has none of another package."""
    for claimant in case.live:
        ranks = [case.near.rank(case.home(claimant), case.node(cpu)) for cpu in case.slices[claimant]]
        assert len({other for _, other, _ in ranks}) <= 1


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


@settings(max_examples=400, deadline=None)
@given(cases())
def test_every_claim_holds_what_is_promised(case: Case) -> None:
    check(case)


@settings(max_examples=60, deadline=None)
@given(large_cases())
def test_every_claim_of_a_large_machine_holds_what_is_promised(case: Case) -> None:
    check(case)


@settings(max_examples=200, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_result_does_not_depend_on_the_order_of_claimants(case: Case, rng: random.Random) -> None:
    order = list(range(len(case.homes)))
    rng.shuffle(order)
    shuffled = Case(case.topology, case.cpus, tuple(case.homes[claimant] for claimant in order))
    # Claimants of one node are told apart by their order only.
    by_home: dict[Optional[int], list[Sequence[int]]] = {}
    for claimant, cpus in enumerate(case.slices):
        by_home.setdefault(case.homes[claimant], []).append(cpus)
    for place, cpus in enumerate(shuffled.slices):
        assert cpus == by_home[shuffled.homes[place]].pop(0)


def near_cores(case: Case, slices: Slices, claimant: int) -> int:
    return len(case.cores([cpu for cpu in slices[claimant] if case.node(cpu) == case.home(claimant)]))


@st.composite
def growing(draw: st.DrawFn) -> tuple[Case, tuple[int, ...]]:
    case = draw(cases())
    more = draw(subsets(case.topology))
    return case, tuple(sorted({*case.cpus, *more}))


@settings(max_examples=600, deadline=None)
@given(growing())
def test_bigger_step_never_gives_fewer_near_cores(grown: tuple[Case, tuple[int, ...]]) -> None:
    case, more = grown
    assume(case.whole_cores)
    after = case.claim(more)
    for claimant in case.live:
        assert near_cores(case, after, claimant) >= near_cores(case, case.slices, claimant)
