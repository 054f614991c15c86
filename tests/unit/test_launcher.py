"""Who a process is, from what launchers and Slurm put into its environment."""

from __future__ import annotations

import pytest
from numa_align.errors import RequestError
from numa_align.placement.launcher import (
    Share,
    Worker,
    bound_by_hand,
    cpus_of_masks,
    read_map,
    step_cpus,
    worker_of,
)

TASKS = {"SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_NODEID": "0"}


@pytest.mark.parametrize(
    ("environment", "worker"),
    [
        ({}, None),
        ({"LOCAL_RANK": "1"}, None),
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "x"}, None),
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}, Worker(1, 4)),
        ({"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "4", "SLURM_LOCALID": "0"}, Worker(2, 4)),
        # deepspeed
        ({"LOCAL_RANK": "1", "LOCAL_SIZE": "4"}, Worker(1, 4)),
        # Open MPI; MPICH and Intel MPI; a torchrun that mpirun started
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, Worker(1, 4)),
        ({"MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "4"}, Worker(0, 4)),
        (
            {"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "4", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "1"},
            Worker(2, 4),
        ),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "1"}, None),
        # A job script that copies Slurm's numbers for each task: the task is what they name.
        ({"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "4", "SLURM_LOCALID": "2", **TASKS}, None),
        ({"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "4", "SLURM_LOCALID": "1", **TASKS}, Worker(2, 4)),
    ],
)
def test_a_worker_is_what_a_launcher_numbered(environment: dict[str, str], worker: Worker) -> None:
    assert worker_of(environment) == worker


def test_arguments_stand_above_the_environment() -> None:
    environment = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert worker_of(environment, 3) == Worker(3, 4)
    assert worker_of(environment, 3, 8) == Worker(3, 8)
    assert worker_of({}, 3, gpus=4) == Worker(3, 4)


def test_a_rank_that_cannot_be_is_refused_in_a_line() -> None:
    with pytest.raises(RequestError, match="local rank 4 is not below"):
        worker_of({}, 4, 4)
    with pytest.raises(RequestError, match="say --local-world-size"):
        worker_of({}, 0)


def test_the_map_is_read_as_the_plugin_writes_it() -> None:
    assert read_map("0000:11:00.0=0-1,8@0;0000:12:00.0=2@0-1") == (
        Share("0000:11:00.0", (0, 1, 8), (0,)),
        Share("0000:12:00.0", (2,), (0, 1)),
    )


@pytest.mark.parametrize("text", ["", "x", "a=0@", "a=@0", "a=0@0;", "a=0;b=1@0", "=0@0", "a=9-1@0"])
def test_half_a_map_is_none(text: str) -> None:
    expected = (Share("a", (0,), ()),) if text == "a=0@" else ()
    assert read_map(text) == expected


def test_slurms_own_masks_are_not_by_hand() -> None:
    assert bound_by_hand({"SLURM_CPU_BIND_TYPE": "mask_cpu:"}) == (False, False)
    assert bound_by_hand({"SLURM_CPU_BIND_TYPE": "map_cpu:", "SLURM_MEM_BIND_TYPE": "local"}) == (True, True)
    assert bound_by_hand({"SLURM_MEM_BIND_TYPE": "none"}) == (False, False)


def test_masks_of_all_tasks_are_united() -> None:
    assert cpus_of_masks("0x3,0x30") == (0, 1, 4, 5)
    assert cpus_of_masks("0x3,junk") == ()


def test_a_step_reaches_as_far_as_its_cpuset_else_as_its_masks_else_nowhere() -> None:
    online = range(8)
    assert step_cpus({}, (1,), (0, 1, 2), online) == (0, 1, 2)
    assert step_cpus({"SLURM_CPU_BIND_LIST": "0x1,0x2"}, (1,), online, online) == (0, 1)
    assert step_cpus({"SLURM_CPU_BIND_LIST": "0x1"}, (1,), online, online) == (1,), "not this step's masks"
    assert step_cpus({}, (1,), online, online) == (1,)
