"""True for every task of a step: its state is correct, and its memory is on nodes for host memory."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from builder import Machine as Built
from builder import on_nodes
from builder.own import OWN
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numa_align.errors import ClaimError
from numa_align.names import CPUS_WORDS, MEM_WORDS, VISIBLE, MemWord
from numa_align.placement.claim import (
    Choice,
    ClaimMachine,
    Placement,
    Sight,
    Spec,
    Step,
    Task,
    choose_gpus,
)
from numa_align.placement.plan import Request, make_plan
from numa_align.topology.model import Topology
from unit.machines import LARGE, SMALL, Shape, subsets, topologies
from unit.promises import check_memory, check_placements, check_tasks

SOCKETS = Built(packages=2, cores=8, smt=2, gpus=on_nodes(0, 0, 1, 1)).topology()


def requests_of(draw: st.DrawFn, shape: Shape, tasks: int) -> tuple[Topology, Request]:
    topology = draw(topologies(shape))
    cpus = draw(subsets(topology))
    assume(cpus)
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    gpus = tuple(gpu for gpu in range(len(topology.gpus)) if rng.random() < 0.8)
    spec = Spec(
        on=True,
        smt=draw(st.booleans()),
        mem=draw(st.sampled_from(MEM_WORDS)),
        cpus=draw(st.sampled_from(CPUS_WORDS)),
    )
    request = Request(draw(st.integers(1, tasks)), gpus, cpus, draw(st.sampled_from(VISIBLE)), spec)
    return topology, request


@st.composite
def small_requests(draw: st.DrawFn) -> tuple[Topology, Request]:
    return requests_of(draw, SMALL, 20)


@st.composite
def large_requests(draw: st.DrawFn) -> tuple[Topology, Request]:
    return requests_of(draw, LARGE, 256)


@settings(max_examples=300, deadline=None)
@given(small_requests())
def test_every_placement_is_what_it_says(made: tuple[Topology, Request]) -> None:
    check_placements(made[0], make_plan(*made))


@settings(max_examples=15, deadline=None)
@given(large_requests())
def test_every_placement_of_a_large_machine_is_what_it_says(made: tuple[Topology, Request]) -> None:
    check_placements(made[0], make_plan(*made))


def overlapping(placements: tuple[Placement, ...]) -> Iterator[tuple[Placement, Placement]]:
    for i, one in enumerate(placements):
        for other in placements[:i]:
            if not set(one.cpus).isdisjoint(other.cpus):
                yield other, one


@settings(max_examples=400, deadline=None)
@given(small_requests())
def test_tasks_hold_what_is_promised(made: tuple[Topology, Request]) -> None:
    topology, request = made
    # Where the node of a GPU is unknown, its task stays where Slurm put it, whoever else is there.
    gpus = tuple(gpu for gpu in request.gpus if topology.gpus[gpu].node is not None)
    plan = make_plan(topology, replace(request, gpus=gpus, spec=Spec(on=True)))
    # Tasks without any GPU near the step stay as well, as do those that see no GPU.
    assume(gpus and all(placement.binds_cpus for placement in plan.placements))
    check_tasks(topology, plan)


@settings(max_examples=100, deadline=None)
@given(small_requests(), st.randoms(use_true_random=False))
def test_memory_stays_within_the_nodes_that_the_step_may_use(
    made: tuple[Topology, Request], rng: random.Random
) -> None:
    topology, request = made
    mems = tuple(node.id for node in topology.nodes if rng.random() < 0.5)
    step = Step(request.cpus, mems, 1, request.gpus, Spec(on=True))
    placement = ClaimMachine.of(topology).place(step, Task(0, request.gpus, request.cpus))
    check_memory(topology, placement, set(mems))


def place(spec: Spec, **task: object) -> Placement:
    step = Step(tuple(range(32)), (0, 1), 4, (0, 1, 2, 3), spec)
    mask = tuple(range(8, 16))
    return ClaimMachine.of(SOCKETS).place(step, Task(0, (0, 1, 2, 3), mask, **task))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mem", "policy"),
    [("preferred", "preferred-many"), ("bind", "bind"), ("interleave", "interleave"), ("local", "local")],
)
def test_memory_policy_is_the_one_asked_for(mem: MemWord, policy: str) -> None:
    placement = place(Spec(on=True, mem=mem))
    assert (placement.policy, placement.memory_nodes, placement.sets_memory) == (policy, (0,), True)


def test_several_nodes_are_preferred_together() -> None:
    step = Step(SOCKETS.online, (0, 1), 1, (0, 1, 2, 3))
    placement = ClaimMachine.of(SOCKETS).place(step, Task(0, (0, 1, 2, 3), SOCKETS.online))
    assert (placement.policy, placement.memory_nodes) == ("preferred-many", (0, 1))
    assert (placement.state, placement.cpus) == ("aligned", SOCKETS.online)


def test_interleave_all_uses_all_host_memory_and_says_it_is_not_near() -> None:
    placement = place(Spec(on=True, mem="interleave-all"))
    assert (placement.policy, placement.memory_nodes) == ("interleave", (0, 1))
    assert placement.state == "partial" and "spreads its memory over NUMA nodes 0-1" in (
        placement.reason or ""
    )


def test_interleave_all_never_takes_memory_of_gpus() -> None:
    grace = OWN["four-superchips"].topology()
    step = Step(
        grace.online, tuple(node.id for node in grace.nodes), 1, (0,), Spec(True, mem="interleave-all")
    )
    assert any(node.kind == "gpu-memory" and node.memory_bytes for node in grace.nodes)
    assert ClaimMachine.of(grace).place(step, Task(0, (0,), grace.online)).memory_nodes == (0, 1, 2, 3)


def test_mem_none_leaves_the_policy_alone() -> None:
    placement = place(Spec(on=True, mem="none"))
    assert (placement.policy, placement.sets_memory, placement.state) == ("default", False, "aligned")


def test_explicit_bindings_win() -> None:
    placement = place(Spec(on=True), cpus_explicit=True, memory_explicit=True)
    assert not placement.binds_cpus and not placement.sets_memory
    assert placement.cpus == tuple(range(8, 16))
    # CPUs 8-15 are the other socket's; nothing at all follows the GPU.
    assert placement.state == "unaligned" and placement.advice == "leave --cpu-bind out"


def test_cpus_node_gives_the_gpus_nodes_and_all_leaves_the_mask() -> None:
    node = place(Spec(on=True, cpus="node"))
    assert node.cpus == (*range(8), *range(16, 24)) and node.state == "aligned"
    everything = place(Spec(on=True, cpus="all"))
    assert not everything.binds_cpus and everything.cpus == tuple(range(8, 16))
    assert everything.state == "memory-only"


def test_smt_off_gives_one_thread_a_core() -> None:
    assert place(Spec(on=True, smt=False)).cpus == (0, 1, 2, 3)
    assert place(Spec(on=True)).cpus == (0, 1, 2, 3, 16, 17, 18, 19)


def test_task_that_sees_no_gpu_of_the_step_is_unaligned() -> None:
    step = Step(SOCKETS.online, (0, 1), 2, (0, 1))
    placement = ClaimMachine.of(SOCKETS).place(step, Task(1, (), (3, 4)))
    assert (placement.state, placement.cpus, placement.binds_cpus) == ("unaligned", (3, 4), False)


@pytest.mark.parametrize(
    ("task", "tasks", "visible", "choice"),
    [
        (0, 1, 8, Choice(0, 8, 0, 1)),  # alone: all it sees
        (3, 8, 8, Choice(3, 1, 0, 1)),  # as many as GPUs: its own number
        (1, 2, 8, Choice(4, 4, 0, 1)),  # fewer: contiguous blocks
        (2, 3, 8, Choice(5, 3, 0, 1)),
        (9, 16, 8, Choice(1, 1, 1, 2)),  # more: modulo
        (8, 9, 8, Choice(0, 1, 1, 2)),
        (7, 9, 8, Choice(7, 1, 0, 1)),  # only GPU 0 has two tasks
    ],
)
def test_tasks_that_see_the_same_gpus_use_them_by_number(
    task: int, tasks: int, visible: int, choice: Choice
) -> None:
    assert choose_gpus(task, tasks, visible) == choice


def test_every_gpu_is_used_when_there_are_tasks_enough() -> None:
    for tasks in range(1, 40):
        for visible in range(1, 17):
            chosen = [choose_gpus(task, tasks, visible) for task in range(tasks)]
            used = {choice.first + i for choice in chosen for i in range(choice.count)}
            assert used == set(range(visible))
            shares = [(choice.first, choice.share) for choice in chosen]
            assert len(set(shares)) == tasks
            assert all(choice.share < choice.sharers for choice in chosen)


def test_tasks_that_share_a_gpu_that_only_they_see_divide_it_in_turn() -> None:
    request = Request(8, (0, 1, 2, 3), SOCKETS.online, "each")
    placements = make_plan(SOCKETS, request).placements
    assert [p.gpus for p in placements] == [(0,), (0,), (1,), (1,), (2,), (2,), (3,), (3,)]
    assert not list(overlapping(placements)) and {p.state for p in placements} == {"aligned"}


@pytest.mark.parametrize("tasks", [6, 8, 16])
def test_tasks_that_see_the_same_gpus_divide_their_cores(tasks: int) -> None:
    """--gpu-bind=closest with ranks dealt to the sockets in turn: the even ones never count to GPU 1 or 3."""
    built = Built(packages=2, cores=8, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1)).topology()
    machine = ClaimMachine.of(built)
    seen = [tuple(range(number % 2 * 4, number % 2 * 4 + 4)) for number in range(tasks)]
    sights = tuple(Sight(visible, 1) for visible in seen)
    step = Step(built.online, (0, 1), tasks, tuple(range(8)), sights=sights)
    placements = []
    for number, visible in enumerate(seen):
        placements.append(machine.place(step, Task(number, visible, (number % 2 * 8,))))
        assert placements[-1].gpus == (visible[number % 4],), "as programs use SLURM_LOCALID"
    assert not list(overlapping(tuple(placements))) and {p.state for p in placements} == {"aligned"}
    sizes = [len(placement.cpus) for placement in placements]
    assert max(sizes) - min(sizes) <= 1 and sum(sizes) == 16


def test_slice_of_one_gpu_is_what_its_task_alone_would_have() -> None:
    machine = ClaimMachine.of(SOCKETS)
    step = Step(SOCKETS.online, (0, 1), 1, (0, 1, 2, 3))
    placement = machine.place(step, Task(0, step.gpus, SOCKETS.online))
    assert machine.slices(step, placement)[2] == ((8, 9, 10, 11, 24, 25, 26, 27), (1,))


@pytest.mark.parametrize(
    ("step", "task", "complaint"),
    [
        (Step((0,), (0,), 0, ()), Task(0, (), (0,)), "1 to 4096 tasks"),
        (Step((0,), (0,), 1, (4,)), Task(0, (), (0,)), "no GPU number 4"),
        (Step((0,), (0,), 1, ()), Task(1, (), (0,)), "no task 1"),
        (Step((9999,), (0,), 1, ()), Task(0, (), (0,)), "9999 is not a CPU"),
    ],
)
def test_what_cannot_be_a_step_is_refused_in_a_line(step: Step, task: Task, complaint: str) -> None:
    with pytest.raises(ClaimError, match=complaint):
        ClaimMachine.of(SOCKETS).place(step, task)


def test_claimant_on_a_node_that_is_not_there_is_refused() -> None:
    with pytest.raises(ClaimError, match="no NUMA node 7"):
        ClaimMachine.of(SOCKETS).claim((0, 1), [7])


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        # The beginning of every part is on one of the first nodes, its middle on a node of its own.
        ((8, 8, 6, 6), [range(0, 8), range(8, 16), range(16, 22), range(24, 30)]),
        ((8, 2), [range(0, 5), (5, 6, 7, 8, 9)]),
    ],
    ids=["a node for each", "nodes that differ much"],
)
def test_uneven_nodes_without_gpus_leave_no_core_idle(
    cores: tuple[int, ...], expected: list[Sequence[int]]
) -> None:
    topology = Built(packages=len(cores), cores=8).topology()
    cpus = tuple(node * 8 + core for node, count in enumerate(cores) for core in range(count))
    plan = make_plan(topology, Request(len(expected), (), cpus, "all", Spec(on=True)))
    assert [placement.cpus for placement in plan.placements] == [tuple(part) for part in expected]
