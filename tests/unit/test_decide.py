"""Where `run` puts a process: alone, as a task of a step, as a worker inside a task."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import pytest
from builder import Machine, on_nodes
from numa_align.errors import RequestError
from numa_align.placement.claim import Spec
from numa_align.placement.decide import (
    Decision,
    ProcessRequest,
    decide,
    line_of,
    note_of,
    refuse_foreign,
    warning_of,
    without_gpu,
)
from numa_align.placement.own import Own
from numa_align.topology.model import Topology
from unit.big_machine import BIG, EVERY, after, aligned_task, big

TWO = Machine(packages=2, cores=8, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1))
ALL = tuple(range(16))
NEAR = {0: set(range(8)), 1: set(range(8, 16))}


@pytest.fixture(scope="module")
def two() -> Topology:
    return TWO.topology()


def place(
    topology: Topology,
    environment: Optional[Mapping[str, str]] = None,
    *,
    cpus: tuple[int, ...] = ALL,
    widest: tuple[int, ...] = ALL,
    gpus: Optional[tuple[int, ...]] = None,
    openable: Optional[set[int]] = None,
    spec: Optional[Spec] = None,
) -> Decision:
    def may_open(device: str) -> bool:
        return openable is None or int(device[len("/dev/nvidia") :]) in openable

    own = Own(cpus, widest, (0, 1))
    return decide(topology, own, environment or {}, ProcessRequest(spec or Spec(on=True), gpus), may_open)


def test_one_gpu_gets_all_of_its_node_and_its_memory(two: Topology) -> None:
    placed = place(two, gpus=(5,)).placement
    assert (set(placed.cpus), placed.policy, placed.memory_nodes) == (NEAR[1], "preferred-many", (1,))
    assert placed.state == "aligned"


def test_it_never_leaves_the_mask_that_it_was_given(two: Topology) -> None:
    assert place(two, gpus=(5,), cpus=(6, 7, 8, 9)).placement.cpus == (8, 9)
    far = place(two, gpus=(5,), cpus=(0, 1)).placement
    assert (far.cpus, far.state, far.memory_nodes) == ((0, 1), "memory-only", (1,))


def test_visible_devices_choose_where_slurm_does_not(two: Topology) -> None:
    placed = place(two, {"CUDA_VISIBLE_DEVICES": "6"}).placement
    assert (placed.gpus, placed.memory_nodes) == ((6,), (1,))


def test_all_gpus_get_both_nodes_and_a_map(two: Topology) -> None:
    decision = place(two)
    assert decision.placement.policy == "preferred-many"
    entries = (decision.variables["NUMA_ALIGN_MAP"] or "").split(";")
    assert [entry.partition("=")[2] for entry in entries] == [
        f"{2 * gpu}-{2 * gpu + 1}@{gpu // 4}" for gpu in range(8)
    ]


def task(rank: int, tasks: int, **more: str) -> dict[str, str]:
    fields = {"SLURM_LOCALID": str(rank), "SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": str(tasks)}
    return {**fields, "SLURM_GPUS_ON_NODE": "8", **more}


def test_tasks_without_the_plugin_get_the_plugins_slices(two: Topology) -> None:
    masks = ",".join(hex(1 << (rank // 2 + 8 * (rank % 2))) for rank in range(8))
    seen: set[int] = set()
    for rank in range(8):
        mask = (rank // 2 + 8 * (rank % 2),)
        placed = place(two, task(rank, 8, SLURM_CPU_BIND_LIST=masks), cpus=mask).placement
        seen.update(placed.cpus)
        assert placed.gpus == (rank,)
        # The step has 4 cores of each node, one for each of its GPUs.
        assert len(placed.cpus) == 1 and set(placed.cpus) <= NEAR[rank // 4], rank
    assert len(seen) == 8


def test_a_confined_step_reaches_to_its_cpuset(two: Topology) -> None:
    step = (0, 1, 8, 9)
    placed = place(two, task(1, 2, SLURM_GPUS_ON_NODE="2"), cpus=(0,), widest=step, openable={0, 4}).placement
    assert (placed.gpus, placed.cpus) == ((4,), (8, 9))


def test_a_task_with_its_own_gpu_keeps_its_near_cpus(two: Topology) -> None:
    environment = task(3, 8)
    assert place(two, environment, cpus=(5, 12), openable={4}).placement.cpus == (12,)
    # None is near, and whose the others are cannot be known: those of the node, shared.
    placed = place(two, environment, cpus=(5,), widest=ALL[:12], openable={4}).placement
    assert placed.cpus == (8, 9, 10, 11)


def worker(rank: int, count: int, **more: str) -> dict[str, str]:
    return {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count), **more}


def test_workers_of_a_launcher_share_out_the_tasks_own_set(two: Topology) -> None:
    for rank in range(8):
        decision = place(two, worker(rank, 8))
        assert decision.placement.gpus == (rank,)
        assert decision.placement.cpus == (2 * rank, 2 * rank + 1)
        assert decision.placement.memory_nodes == (rank // 4,)


def test_of_fewer_workers_than_gpus_each_uses_the_gpu_of_its_number(two: Topology) -> None:
    """As in `torch.cuda.set_device(LOCAL_RANK)`: no core is kept for the GPUs that are nobody's."""
    found = [place(two, worker(rank, 6)).placement for rank in range(6)]
    assert [placement.gpus for placement in found] == [(rank,) for rank in range(6)]
    assert [placement.cpus for placement in found[:4]] == [(2 * rank, 2 * rank + 1) for rank in range(4)]
    assert [placement.cpus for placement in found[4:]] == [(8, 9, 10, 11), (12, 13, 14, 15)]
    aligned = {"NUMA_ALIGN_CPUS": "0-15", "NUMA_ALIGN_GPUS": ",".join(gpu.bdf for gpu in two.gpus)}
    slices = ";".join(
        f"{gpu.bdf}={2 * gpu.minor}-{2 * gpu.minor + 1}@{gpu.node}"
        for gpu in two.gpus
        if gpu.minor is not None
    )
    inside = place(two, worker(5, 6, NUMA_ALIGN_MAP=slices, **aligned)).placement
    assert (inside.gpus, inside.cpus) == ((5,), (12, 13, 14, 15))
    assert place(two, worker(0, 1)).placement.gpus == tuple(range(8)), "who is alone may use them all"


def test_a_worker_takes_what_the_map_of_its_task_says(two: Topology) -> None:
    bdfs = [gpu.bdf for gpu in two.gpus]
    slices = f"{bdfs[1]}=3@0;{bdfs[2]}=4-5@0"
    own = {"NUMA_ALIGN_GPUS": f"{bdfs[1]},{bdfs[2]}", "NUMA_ALIGN_CPUS": "3-5", "NUMA_ALIGN_MAP": slices}
    found = [place(two, worker(rank, 2, **own), cpus=(3, 4, 5), openable={1, 2}) for rank in range(2)]
    assert [decision.placement.cpus for decision in found] == [(3,), (4, 5)]
    assert [decision.placement.gpus for decision in found] == [(1,), (2,)]
    # The map of another process is not about this one.
    other = place(two, worker(0, 2, **own), cpus=(0, 1), openable={1, 2})
    assert set(other.placement.cpus) <= {0, 1}


def test_more_workers_than_gpus_divide_a_slice(two: Topology) -> None:
    mine = {rank: set(place(two, worker(rank, 16)).placement.cpus) for rank in range(16)}
    assert all(len(cpus) == 1 for cpus in mine.values())
    assert len(set().union(*mine.values())) == 16
    assert all(mine[rank] <= NEAR[rank % 8 // 4] for rank in mine)


def test_workers_that_are_shown_one_gpu_each_get_equal_slices(two: Topology) -> None:
    own = {"NUMA_ALIGN_GPUS": ",".join(gpu.bdf for gpu in two.gpus), "NUMA_ALIGN_CPUS": "0-15"}
    for rank in range(8):
        environment = worker(rank, 8, CUDA_VISIBLE_DEVICES=str(rank), **own)
        assert place(two, environment).placement.cpus == (2 * rank, 2 * rank + 1)


def test_a_placed_task_keeps_its_place(two: Topology) -> None:
    variables = {k: v for k, v in place(two, gpus=(5,)).variables.items() if v is not None}
    again = place(two, {**task(5, 8), **variables}, cpus=tuple(sorted(NEAR[1])), openable={5})
    assert set(again.placement.cpus) == NEAR[1]


def test_a_gpu_of_another_job_is_refused_in_a_line(two: Topology) -> None:
    refuse_foreign(two, (0, 5), lambda device: True)
    with pytest.raises(RequestError, match=r"/dev/nvidia5 may not be opened; it belongs to another job"):
        refuse_foreign(two, (0, 5), lambda device: device != "/dev/nvidia5")


def test_an_unaligned_process_is_told_why_and_what_to_request(two: Topology) -> None:
    decision = place(two, gpus=(5,), cpus=(0,))
    warning = warning_of(decision)
    assert warning and warning.startswith("memory-only: ") and "; " in warning
    assert line_of(decision, two).startswith("memory-only gpus=0001") or "gpus=" in line_of(decision, two)
    assert warning_of(place(two, gpus=(5,))) is None


# -- Big machines: what two CPUs hide ------------------------------------------------------------


@pytest.mark.parametrize("around", [{}, aligned_task()], ids=["machine", "task"])
def test_placing_again_changes_nothing(around: dict[str, str]) -> None:
    """`numa-align run` and bind_local_rank() in the program, then in children that run its top level."""
    seen: set[int] = set()
    for rank in range(8):
        environment = worker(rank, 8, **around)
        first = big(environment)
        assert len(first.placement.cpus) == 28 and first.placement.gpus == (rank,)
        seen.update(first.placement.cpus)
        cpus, placed = first.placement.cpus, after(first, environment)
        for _ in range(3):
            again = big(placed, cpus)
            assert (again.placement.cpus, again.placement.gpus) == (cpus, (rank,))
            assert again.placement.memory_nodes == (rank // 4,)
            assert again.placement.state == "aligned" and again.kept
            assert after(again, placed) == placed
            placed = after(again, placed)
        # Lightning's callback says the numbers that torchrun has set.
        assert big(placed, cpus, rank=rank, count=8).placement.cpus == cpus
    assert seen == set(EVERY)


def test_placing_again_with_numbers_that_were_said() -> None:
    first = big({}, rank=3, count=8)
    placed = after(first, {})
    assert big(placed, first.placement.cpus, rank=3, count=8).placement.cpus == first.placement.cpus
    # A child of mp.spawn, whose top level calls bind_local_rank() without numbers.
    assert big(placed, first.placement.cpus).placement.cpus == first.placement.cpus


def test_a_worker_inside_a_worker_divides_its_part() -> None:
    """mpirun starts two torchruns, whose workers have the same numbers again."""
    outer = {"OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    first = big({**outer})
    assert (first.placement.gpus, len(first.placement.cpus)) == ((1,), 56)
    inner = {**after(first, outer), "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    second = big(inner, first.placement.cpus)
    assert len(second.placement.cpus) == 28 and set(second.placement.cpus) < set(first.placement.cpus)
    # Another number is another worker: mp.spawn in a worker.
    third = big(after(first, outer), first.placement.cpus, rank=3, count=4).placement
    assert (third.gpus, len(third.cpus)) == ((1,), 14)


def test_whoever_has_left_his_place_is_placed_again() -> None:
    environment = worker(5, 8)
    placed = after(big(environment), environment)
    # The same numbers and variables, but not the mask: a program or a person has set it.
    assert not big(placed, tuple(range(10))).kept


def test_words_that_are_said_now_count_in_a_placed_process() -> None:
    environment = worker(5, 8)
    first = big(environment)
    placed = after(first, environment)
    again = big(placed, first.placement.cpus, spec=Spec(on=True, mem="bind", smt=False), insists=True)
    assert again.placement.policy == "bind" and len(again.placement.cpus) == 14
    assert (
        big(placed, first.placement.cpus, spec=Spec(on=True, smt=False)).placement.cpus
        == first.placement.cpus
    )


def test_a_rank_without_a_number_of_workers_is_one_of_the_tasks_gpus() -> None:
    """Lightning's own launcher, in the task and outside."""
    arounds: tuple[Mapping[str, str], ...] = ({}, aligned_task())
    for around in arounds:
        decision = big({"LOCAL_RANK": "5", **around})
        assert (decision.placement.gpus, len(decision.placement.cpus)) == ((5,), 28)
    # A wrapper script that shows each worker its GPU hides from it how many the task has, but not from us.
    decision = big({"LOCAL_RANK": "5", "CUDA_VISIBLE_DEVICES": "5", **aligned_task()})
    assert (decision.placement.gpus, len(decision.placement.cpus)) == ((5,), 28)


def test_a_worker_that_cannot_be_told_which_says_so() -> None:
    decision = big({"RANK": "3", "WORLD_SIZE": "8"})
    assert len(decision.doubts) == 1 and "RANK is 3" in decision.doubts[0]
    assert big({"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "8"}).doubts == ()


@pytest.mark.parametrize("around", [{}, aligned_task()], ids=["machine", "task"])
@pytest.mark.parametrize("numbered", [True, False], ids=["wrapper", "ray"])
def test_workers_that_each_see_one_gpu_share_out_all_cpus(around: dict[str, str], numbered: bool) -> None:
    """Wrappers with CUDA_VISIBLE_DEVICES=$LOCAL_RANK; Ray's actors have no number besides."""
    seen: list[int] = []
    for gpu in range(8):
        environment = {**around, **(worker(gpu, 8) if numbered else {}), "CUDA_VISIBLE_DEVICES": str(gpu)}
        placed = big(environment).placement
        assert (placed.gpus, len(placed.cpus), placed.state) == ((gpu,), 28, "aligned")
        seen += placed.cpus
        again = big(after(big(environment), environment), placed.cpus)
        assert again.placement.cpus == placed.cpus
    assert sorted(seen) == list(EVERY)


def test_workers_that_see_one_gpu_take_its_entry_of_the_map() -> None:
    slices = ";".join(f"{gpu.bdf}={10 * p}-{10 * p + 9}@{gpu.node}" for p, gpu in enumerate(BIG.gpus))
    around = {**aligned_task(), "NUMA_ALIGN_MAP": slices}
    for environment in ({"CUDA_VISIBLE_DEVICES": "3"}, worker(3, 8, CUDA_VISIBLE_DEVICES="3")):
        assert big({**around, **environment}).placement.cpus == tuple(range(30, 40))
    two = {"CUDA_VISIBLE_DEVICES": "2,3"}
    assert big({**around, **two}).placement.cpus == tuple(range(20, 40))
    # Twice as many workers as GPUs, shown in turn.
    halves = [
        big({**around, **worker(rank, 16, CUDA_VISIBLE_DEVICES="3")}).placement.cpus for rank in (3, 11)
    ]
    assert [len(half) for half in halves] == [5, 5] and not set(halves[0]) & set(halves[1])


@pytest.mark.parametrize("first", [0, 3])
def test_more_workers_than_gpus_that_each_see_one_leave_no_cpu_idle(first: int) -> None:
    """Ten on eight GPUs: those that share one have as much as those that are alone on one."""
    seen: list[int] = []
    for rank in range(10):
        placed = big(worker(rank, 10, CUDA_VISIBLE_DEVICES=str((rank + first) % 8))).placement
        assert placed.gpus == ((rank + first) % 8,)
        seen += placed.cpus
    assert sorted(seen) == list(EVERY)


def test_workers_that_each_see_two_gpus_share_out_all_cpus() -> None:
    seen: list[int] = []
    for rank in range(4):
        environment = worker(rank, 4, CUDA_VISIBLE_DEVICES=f"{2 * rank},{2 * rank + 1}")
        placed = big(environment).placement
        assert placed.gpus == (2 * rank, 2 * rank + 1)
        seen += placed.cpus
    assert sorted(seen) == list(EVERY)


def test_a_list_that_goes_round_begins_with_the_workers_own_gpu() -> None:
    """dask-cuda: worker r sees all GPUs, its own first."""
    seen: list[int] = []
    for rank in range(8):
        order = ",".join(str((rank + i) % 8) for i in range(8))
        placed = big({"CUDA_VISIBLE_DEVICES": order}, rank=rank, count=8).placement
        assert placed.gpus == (rank,), rank
        seen += placed.cpus
    assert sorted(seen) == list(EVERY)
    # torchrun's workers have one list, whatever order the user gave it, and open number LOCAL_RANK of it.
    environment = worker(1, 8, CUDA_VISIBLE_DEVICES="1,2,3,4,5,6,7,0", TORCHELASTIC_RUN_ID="none")
    assert big(environment).placement.gpus == (2,)


def test_workers_of_a_list_that_all_see_count_in_it() -> None:
    for rank in range(2):
        assert big(worker(rank, 2, CUDA_VISIBLE_DEVICES="6,2")).placement.gpus == ((6, 2)[rank],)


def test_a_list_that_suffices_for_all_workers_is_for_all_of_them(two: Topology) -> None:
    """`deepspeed --num_gpus 4`, or CUDA_VISIBLE_DEVICES before torchrun: half of the machine."""
    for rank in range(4):
        environment = worker(rank, 4, CUDA_VISIBLE_DEVICES="0,1,2,3")
        assert big(environment).placement.gpus == (rank,)
    pairs = [
        place(two, worker(rank, 2, CUDA_VISIBLE_DEVICES="2,3"), openable={2, 3, 4, 5}) for rank in (0, 1)
    ]
    assert [pair.placement.gpus for pair in pairs] == [(4,), (5,)]


def test_a_job_that_has_some_of_the_gpus_does_not_share_with_others() -> None:
    """Devices are not confined, Slurm says which GPUs the job has; its process sees them all."""
    job = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "4,5"}
    decision = big(job)
    assert decision.placement.gpus == (4, 5) and set(decision.placement.cpus) == set(BIG.gpus[4].cpus)


def test_a_step_of_an_aligned_batch_script_is_not_its_worker() -> None:
    """The variables of the script are handed on; Slurm has given the step CPUs and GPUs of its own."""
    script = {**aligned_task(), "SLURM_JOB_ID": "7"}
    near = set(BIG.gpus[5].cpus)
    own = tuple(sorted(near))[:28]
    alone = big({**script, **task(5, 8)}, own, openable={5}).placement
    assert (alone.gpus, alone.cpus) == ((5,), own)
    one = big({**script, **task(0, 1, SLURM_GPUS_ON_NODE="1")}, openable={5}).placement
    assert (one.gpus, set(one.cpus)) == ((5,), near), "of all CPUs of the job those near its only GPU"
    pair = [big({**script, **worker(rank, 2)}, own, openable={5}).placement for rank in range(2)]
    assert [placed.gpus for placed in pair] == [(5,), (5,)]
    assert [len(placed.cpus) for placed in pair] == [14, 14]


def test_mpirun_that_has_bound_its_workers_is_named_with_the_cure() -> None:
    for rank in range(8):
        environment = {"OMPI_COMM_WORLD_LOCAL_RANK": str(rank), "OMPI_COMM_WORLD_LOCAL_SIZE": "8"}
        mask = (rank // 2 + 56 * (rank % 2),)  # round robin by socket
        decision = big(environment, mask)
        assert decision.placement.cpus == mask, "its part is its mask, not an eighth of it"
        assert decision.placement.gpus == (rank,) and decision.placement.memory_nodes == (rank // 4,)
        said = warning_of(decision) or note_of(decision) or ""
        assert "mpirun has bound this worker to CPUs" in said and "--bind-to none" in said
        assert "enforce-binding" not in said
    free = {**environment, "OMPI_MCA_hwloc_base_binding_policy": "none"}
    assert len(big(free).placement.cpus) == 28


@pytest.mark.parametrize("copied", [{"LOCAL_RANK": "3"}, {"LOCAL_RANK": "3", "RANK": "3", "WORLD_SIZE": "8"}])
def test_mpiruns_number_in_another_variable_divides_once(copied: dict[str, str]) -> None:
    """deepspeed.init_distributed() sets LOCAL_RANK in the program, wrappers before it."""
    mpirun = {"OMPI_COMM_WORLD_LOCAL_RANK": "3", "OMPI_COMM_WORLD_LOCAL_SIZE": "8"}
    first = big(mpirun)
    again = big({**after(first, mpirun), **copied}, first.placement.cpus)
    assert again.kept and again.placement.cpus == first.placement.cpus


def test_mpirun_that_has_bound_is_named_whoever_says_the_number() -> None:
    mpirun = {"OMPI_COMM_WORLD_LOCAL_RANK": "3", "OMPI_COMM_WORLD_LOCAL_SIZE": "8"}
    numbers: tuple[Mapping[str, str], ...] = ({"LOCAL_RANK": "3"}, worker(3, 8))
    for decision in (
        *(big({**mpirun, **copied}, (1,)) for copied in numbers),
        big(mpirun, (1,), rank=3, count=8),
    ):
        assert "--bind-to none" in (note_of(decision) or "") and decision.placement.cpus == (1,)
    torchrun = {**mpirun, **worker(3, 8), "TORCHELASTIC_RUN_ID": "none"}
    assert "--bind-to none" not in (note_of(big(torchrun, (1, 2))) or "")


def test_torchrun_in_each_of_several_tasks_divides_each_task(two: Topology) -> None:
    """Two tasks, two workers in each: worker 1 of task 1 is not that task."""
    seen: list[int] = []
    for local in range(2):
        for rank in range(2):
            environment = {**task(local, 2, SLURM_JOB_ID="7"), **worker(rank, 2), "TORCHELASTIC_RUN_ID": "x"}
            placed = place(two, environment, cpus=tuple(sorted(NEAR[local]))).placement
            assert placed.gpus == (4 * local + rank,)
            seen += placed.cpus
    assert sorted(seen) == list(ALL)


def test_another_number_of_the_same_launcher_in_a_worker_is_said() -> None:
    """`LOCAL_RANK=3 numa-align run env LOCAL_RANK=4 numa-align run ...`: the inner one has but a part."""
    first = big(worker(3, 8))
    inside = {**after(first, worker(3, 8)), **worker(4, 8)}
    again = big(inside, first.placement.cpus)
    assert set(again.placement.cpus) < set(first.placement.cpus)
    assert len(again.doubts) == 1 and "was placed as worker 3 of 8" in again.doubts[0]
    nested = {**after(first, worker(3, 8)), **worker(1, 2)}
    assert big(nested, first.placement.cpus).doubts == (), "a launcher with other workers, in this one"


@pytest.mark.parametrize(
    ("cpus", "count", "sharing"),
    [
        ((0, 1, 56, 57), 8, True),
        ((5,), 2, True),
        ((0, 1, 2, 3, 4, 5, 6, 56), 8, False),
        ((0, 112, 56, 57, 168), 5, False),
        (EVERY, 224, False),
        (EVERY, 225, True),
    ],
)
def test_more_workers_than_cpus_are_told_that_some_share(
    cpus: tuple[int, ...], count: int, sharing: bool
) -> None:
    decisions = [big(worker(rank, count), cpus) for rank in range(count)]
    seen = [cpu for decision in decisions for cpu in decision.placement.cpus]
    assert (len(seen) > len(set(seen))) == sharing
    for decision in decisions:
        said = note_of(decision) or warning_of(decision) or ""
        assert ("so some share one: request more with --cpus-per-task" in said) == sharing


def test_a_wish_for_local_memory_is_kept_at_the_new_place() -> None:
    local = {"SLURM_JOB_ID": "7", "SLURM_MEM_BIND_TYPE": "local"}
    for env, policy in (
        (local, "bind"),
        ({**local, "SLURM_MEM_BIND_PREFER": "prefer"}, "preferred-many"),
        ({**local, "SLURM_MEM_BIND_TYPE": "none"}, "default"),
    ):
        placed = big(env, gpus=(5,)).placement
        assert placed.policy == policy and placed.memory_nodes == (1,), env
    assert big(local, gpus=(5,), spec=Spec(on=True, mem="interleave")).placement.policy == "interleave"


def test_a_process_without_a_gpu_is_told_so() -> None:
    blind = big({}, openable=set())
    assert "of 8 on this machine" in (without_gpu(blind, BIG) or "")
    # Outside an allocation it is a container without GPUs, or a driver that is gone; in one, a step without.
    assert blind.doubts == (without_gpu(blind, BIG),)
    assert big({"SLURM_JOB_ID": "7"}, openable=set()).doubts == ()
    assert without_gpu(big({}), BIG) is None
    bare = Machine(cores=8).topology()
    decision = decide(bare, Own(bare.online, bare.online, (0,)), {}, ProcessRequest(Spec(on=True)))
    assert "none was found on this machine" in (without_gpu(decision, bare) or "")


def test_a_worker_that_is_shown_no_gpu_has_none(two: Topology) -> None:
    hidden = {"CUDA_VISIBLE_DEVICES": "", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert place(two, hidden).placement.gpus == ()


# -- The command ---------------------------------------------------------------------------------


FOREIGN = ("NUMA_ALIGN", "SLURM_", "LOCAL_", "CUDA_", "OMP_", "TORCHELASTIC", "TLLM_", "NRL_")


def run(*arguments: str, env: Optional[Mapping[str, str]] = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "numa_align", "run", *arguments],
        env={**clean_environment(), **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


def test_json_goes_to_stderr_and_stdout_belongs_to_the_command() -> None:
    program = "import os; print(*sorted(os.sched_getaffinity(0)), os.environ['NUMA_ALIGN_CPUS'])"
    result = run("--json", sys.executable, "-c", program)
    data = json.loads(result.stderr)
    assert list(data) == [
        "version", "state", "reason", "gpus", "cpus", "policy", "policy_nodes", "room", "worker",
        "variables",
    ]  # fmt: skip
    assert data["worker"] is None and result.stdout.endswith(f" {data['cpus']}\n")
    env = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert json.loads(run("--json", "true", env=env).stderr)["worker"] == {"rank": 1, "count": 2}


def test_the_status_and_output_are_the_commands_own() -> None:
    result = run("--", "sh", "-c", "echo out; exit 7")
    assert (result.returncode, result.stdout) == (7, "out\n")


def test_what_cannot_be_executed_ends_as_with_env(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no program")
    for name, status in (("no-such-command", 127), (str(tmp_path), 126), (str(tmp_path / "data"), 126)):
        result = run(name)
        assert (result.returncode, len(result.stderr.splitlines())) == (status, 1), result


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--gpus", "no-such-gpu", "true"), "there is no GPU 'no-such-gpu'"),
        (("--numa-align", "nonsense", "true"), 'unknown word "nonsense"'),
        (("--local-rank", "3", "--local-world-size", "2", "true"), "local rank 3 is not below"),
    ],
)
def test_bad_input_is_one_line_and_status_2_and_nothing_runs(arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments[:-1], "echo", "ran")
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert says in line


def test_a_command_line_without_a_command_is_wrong_usage() -> None:
    result = run()
    assert result.returncode == 2 and "no COMMAND" in result.stderr


@pytest.mark.parametrize(("option", "env"), [(("--numa-align", "off"), {}), ((), {"NUMA_ALIGN": "off"})])
def test_off_only_runs_the_command(option: tuple[str, ...], env: dict[str, str]) -> None:
    result = run(*option, "sh", "-c", "echo ${NUMA_ALIGN_STATE-unset}", env=env)
    assert result.stdout == "unset\n"


def test_workers_are_bound_apart_by_the_kernels_word() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    seen = []
    for rank in range(2):
        env = {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
        program = "import os; print(*sorted(os.sched_getaffinity(0)))"
        seen.append(set(run(sys.executable, "-c", program, env=env).stdout.split()))
    assert seen[0] and seen[1] and not seen[0] & seen[1]


#: The shell's words for an output that is closed, full, or read by nobody.
BROKEN = (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", ">/dev/full 2>/dev/full")


@pytest.mark.parametrize("words", ["--json", "--numa-align verbose", "--local-rank 0 --local-world-size 2"])
@pytest.mark.parametrize("broken", BROKEN)
def test_the_command_runs_whatever_is_wrong_with_the_outputs(broken: str, words: str, tmp_path: Path) -> None:
    """A shell that says so in a file: its status and what it wrote are the command's, nothing is ours."""
    file = tmp_path / "ran"
    line = f"'{sys.executable}' -m numa_align run {words} sh -c 'echo ran >{file}; exit 7' {broken}"
    env = {**clean_environment(), "NUMA_ALIGN": "misspelt"}
    result = subprocess.run(["sh", "-c", line], env=env, capture_output=True, check=False, timeout=60)
    assert (result.returncode, file.read_text()) == (7, "ran\n")
    assert result.stdout == b"" and b"Traceback" not in result.stderr


def test_the_command_runs_if_nobody_reads_stderr(tmp_path: Path) -> None:
    file = tmp_path / "ran"
    read, write = os.pipe()
    os.close(read)
    arguments = ["--numa-align", "verbose", "sh", "-c", f"echo ran >{file}; exit 7"]
    result = subprocess.run(
        [sys.executable, "-m", "numa_align", "run", *arguments],
        env=clean_environment(),
        stderr=write,
        check=False,
        timeout=60,
    )
    os.close(write)
    assert (result.returncode, file.read_text()) == (7, "ran\n")


def test_wrong_input_is_no_line_in_stdout_where_stderr_is_closed() -> None:
    line = f"'{sys.executable}' -m numa_align run --gpus no-such-gpu true 2>&-"
    result = subprocess.run(["sh", "-c", line], capture_output=True, check=False, timeout=60)
    assert (result.returncode, result.stdout) == (2, b"")


def test_the_command_gets_the_signals_as_they_were() -> None:
    """Python ignores SIGPIPE, and what is ignored stays so through exec."""
    # By its path, as what starts it below: Python 3.13 then takes posix_spawn for both, after which two
    # signals of the C library are ignored.
    look = [shutil.which("grep") or "", "SigIgn", "/proc/self/status"]
    outside = subprocess.run(look, capture_output=True, text=True, check=True).stdout
    assert run(*look).stdout == outside


def test_a_wrong_word_in_the_variable_is_one_warning() -> None:
    for value in ("misspelt", "strict,mem=nonsense"):
        result = run("sh", "-c", "exit 7", env={"NUMA_ALIGN": value})
        (line,) = result.stderr.splitlines()
        assert result.returncode == 7
        assert line.startswith("numa-align: NUMA_ALIGN in the environment is ignored: unknown word")
    said = json.loads(run("--json", "true", env={"NUMA_ALIGN": "misspelt"}).stderr)
    assert said["reason"].startswith("NUMA_ALIGN in the environment is ignored")


def test_a_rank_that_is_no_number_is_one_line_and_nothing_runs() -> None:
    result = run("echo", "ran", env={"LOCAL_RANK": "x"})
    (line,) = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (2, "") and "LOCAL_RANK is 'x'" in line


def test_strict_needs_a_gpu() -> None:
    bare = not json.loads(run("--json", "true").stderr)["gpus"]
    if not bare:
        pytest.skip("this machine has GPUs")
    result = run("--numa-align=strict", "echo", "ran")
    (line,) = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (1, "") and "no GPU is visible" in line
    assert line.endswith("; strict was asked for, so the command is not run")


def test_threads_are_as_many_as_cores_unless_they_were_chosen() -> None:
    def threads(**env: str) -> str:
        show = ("--threads", "sh", "-c", "echo ${OMP_NUM_THREADS-unset}")
        return run(*show, env=env).stdout.strip()

    cores = threads()
    assert 1 <= int(cores) <= len(os.sched_getaffinity(0))
    assert threads(OMP_NUM_THREADS="3") == "3" and threads(OMP_NUM_THREADS="1") == "1"
    assert threads(OMP_NUM_THREADS="1", TORCHELASTIC_RUN_ID="none") == cores


def test_programs_are_told_of_a_place_that_they_could_lose() -> None:
    show = ("sh", "-c", "echo ${TLLM_NUMA_AWARE_WORKER_AFFINITY-unset}")
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two CPUs")
    half = ("--local-rank", "0", "--local-world-size", "2")
    assert run(*half, *show).stdout == "0\n"
    assert run(*half, *show, env={"TLLM_NUMA_AWARE_WORKER_AFFINITY": "1"}).stdout == "1\n"
    assert run(*half, "--numa-align=tell=off", *show).stdout == "unset\n"
    assert run(*show).stdout == "unset\n", "with all CPUs there is no place to lose"
    assert "set for the command: TLLM_" in run(*half, "--numa-align=verbose", *show).stderr


#: Without the compiled claim, as in a Python that it was not built for.
BROKEN_CLAIM = "import sys; sys.modules['numa_align._claim'] = None; from numa_align.cli import main; main()"


@pytest.mark.parametrize(("words", "status", "out"), [((), 0, "ran\n"), (("--gpus", "no-such-gpu"), 2, "")])
def test_without_the_claim_the_command_runs_and_gpus_are_still_shown(
    words: tuple[str, ...], status: int, out: str
) -> None:
    command = [sys.executable, "-c", BROKEN_CLAIM, "run", *words, "echo", "ran"]
    result = subprocess.run(
        command, env=clean_environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stdout) == (status, out)
    assert "nothing is bound" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("shown", ["", "-1", " -1 ", "0,0", "3,5,3", "0, 0"])
def test_a_list_that_shows_no_gpu_is_none_and_not_all(shown: str, two: Topology) -> None:
    """As CUDA reads it, to which a GPU named twice is none; spank/devices.c has the same rule."""
    assert place(two, {"CUDA_VISIBLE_DEVICES": shown}).placement.gpus == ()
    assert len(place(two).placement.gpus) == 8


@pytest.mark.parametrize(("shown", "gpus"), [(" 3", (3,)), ("3 ", (3,)), ("3, 5", (3, 5)), ("5,9,3", (5,))])
def test_blanks_in_a_list_do_not_count(shown: str, gpus: tuple[int, ...], two: Topology) -> None:
    decision = place(two, {"CUDA_VISIBLE_DEVICES": shown})
    assert (decision.placement.gpus, decision.doubts) == (gpus, ())


@pytest.mark.parametrize("shown", ["x", "9", "GPU-ffffffff", "MIG-aaaaaaaa-1111", "NoDevFiles"])
def test_a_list_that_names_no_gpu_known_here_is_a_doubt(shown: str, two: Topology) -> None:
    """The program may see none, or one of which nobody here knows the GPU."""
    for environment in ({}, worker(3, 8)):
        decision = place(two, {**environment, "CUDA_VISIBLE_DEVICES": shown})
        assert len(decision.doubts) == 1
        assert f"CUDA_VISIBLE_DEVICES is {shown!r}" in decision.doubts[0]
    assert place(two, {"CUDA_VISIBLE_DEVICES": shown}, openable={5}).doubts == (), "there is but one"
    assert place(two, {"CUDA_VISIBLE_DEVICES": shown}, gpus=(5,)).doubts == (), "the user named it"


def test_numbers_that_slurm_wrote_are_no_doubt(two: Topology) -> None:
    """--gpus-per-task: the node's numbers, of GPUs that count from 0 in the task."""
    job = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "4,5"}
    decision = place(two, job, openable={4, 5})
    assert (decision.placement.gpus, decision.doubts) == ((4, 5), ())
