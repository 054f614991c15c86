"""What holds for every claim, on machines of any shape."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Optional

from builder import Machine as Built
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numa_align.placement.claim import ClaimMachine
from numa_align.topology.model import Core, Node, Topology
from unit.machines import LARGE, SMALL, Shape, subsets, topologies
from unit.promises import Case, Slices, check


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


def test_with_few_cores_a_bigger_step_can_take_a_near_cpu_away() -> None:
    """Siblings stay together once there are cores enough: then eight cores are near to eight, not to nine."""
    topology = Built(packages=2, cores=8, smt=2).topology()
    near, far = topology.nodes[0].cpus, topology.cores[8].cpus
    before = ClaimMachine.of(topology).claim(near, [0] * 9)
    after = ClaimMachine.of(topology).claim((*near, *far), [0] * 9)
    assert all(set(cpus) <= set(near) for cpus in before)
    assert [set(cpus) <= set(near) for cpus in after] == [True] * 8 + [False]


def fits(caches: Sequence[int], small: int, large: int, size: int) -> bool:
    """Whether runs, ``small`` of ``size`` and ``large`` of one more, can fill caches without crossing."""
    if not caches:
        return not small and not large
    return any(
        size * a + (size + 1) * b == caches[0] and fits(caches[1:], small - a, large - b, size)
        for a in range(small + 1)
        for b in range(large + 1)
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=5), st.integers(1, 8))
def test_slice_crosses_no_cache_where_sizes_allow_it(caches: list[int], claimants: int) -> None:
    total = sum(caches)
    assume(total >= claimants)
    llc = [cache for cache, length in enumerate(caches) for _ in range(length)]
    first = [llc.index(cache) for cache in llc]
    cores = tuple(Core((cpu,), 0, 0, first[cpu]) for cpu in range(total))
    node = Node(0, tuple(range(total)), 1 << 30, "cpu")
    topology = Topology(node.cpus, (node,), ((10,),), cores, ())
    slices = ClaimMachine.of(topology).claim(node.cpus, [0] * claimants)
    for cpus in slices:  # contiguous
        assert cpus == tuple(range(cpus[0], cpus[-1] + 1))
    size, large = divmod(total, claimants)
    if fits(caches, claimants - large, large, size):
        for cpus in slices:
            assert len({llc[cpu] for cpu in cpus}) == 1
