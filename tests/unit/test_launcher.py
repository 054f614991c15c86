"""Who a process is, from what launchers and Slurm put into its environment."""

from __future__ import annotations

import pytest
from numa_align.errors import RequestError
from numa_align.placement.launcher import (
    LAUNCHERS,
    Share,
    Worker,
    bound_by_launcher,
    bound_explicitly,
    cpus_of_masks,
    number,
    read_map,
    step_cpus,
)

TASKS = {"SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_NODEID": "0"}
#: A worker that has the number of the task in which its launcher runs.
INSIDE = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "SLURM_LOCALID": "1", **TASKS}
ELASTIC = {"TORCHELASTIC_RUN_ID": "none"}


def of_open_mpi(rank: int, count: int) -> dict[str, str]:
    return {"OMPI_COMM_WORLD_LOCAL_RANK": str(rank), "OMPI_COMM_WORLD_LOCAL_SIZE": str(count)}


@pytest.mark.parametrize(
    ("environment", "worker"),
    [
        ({}, None),
        # What programs and scripts take for "no launcher".
        ({"LOCAL_RANK": "", "LOCAL_WORLD_SIZE": "4"}, None),
        ({"LOCAL_RANK": "-1"}, None),
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
        # MVAPICH2, PALS, Horovod, JSM, HPE's PMI
        ({"MV2_COMM_WORLD_LOCAL_RANK": "1", "MV2_COMM_WORLD_LOCAL_SIZE": "4"}, Worker(1, 4)),
        ({"PALS_LOCAL_RANKID": "1", "PALS_LOCAL_SIZE": "4"}, Worker(1, 4)),
        ({"HOROVOD_LOCAL_RANK": "1", "HOROVOD_LOCAL_SIZE": "4"}, Worker(1, 4)),
        ({"JSM_NAMESPACE_LOCAL_RANK": "1", "JSM_NAMESPACE_LOCAL_SIZE": "4"}, Worker(1, 4)),
        ({"PMI_LOCAL_RANK": "1", "PMI_LOCAL_SIZE": "4"}, Worker(1, 4)),
        # Flux says how many there are on all nodes.
        ({"FLUX_TASK_LOCAL_ID": "1", "FLUX_JOB_SIZE": "4", "FLUX_JOB_NNODES": "1"}, Worker(1, 4)),
        ({"FLUX_TASK_LOCAL_ID": "1", "FLUX_JOB_SIZE": "16", "FLUX_JOB_NNODES": "2"}, Worker(1, 8)),
        # Lightning's own launcher: as many as the task has GPUs, or as there are at all on the one node.
        ({"LOCAL_RANK": "1"}, Worker(1, 8)),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2", "SLURM_JOB_NUM_NODES": "1"}, Worker(1, 2)),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, Worker(1, 2)),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "16"}, Worker(1, 8)),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "16", "SLURM_JOB_NUM_NODES": "1"}, Worker(1, 16)),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "4", "SLURM_JOB_NUM_NODES": "2"}, Worker(1, 8)),
        # A job script that copies Slurm's numbers for each task: the task is what they name.
        ({"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "4", "SLURM_LOCALID": "2", **TASKS}, None),
        ({"LOCAL_RANK": "2", "SLURM_LOCALID": "2", **TASKS}, None),
        ({"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "4", "SLURM_LOCALID": "1", **TASKS}, Worker(2, 4)),
        # torchrun in each of the tasks: that its worker has the task's number is by chance.
        (
            {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "SLURM_LOCALID": "1", **TASKS, **ELASTIC},
            Worker(1, 4),
        ),
        # As with Composer, whose workers' numbers over all nodes are others than the task's.
        ({**INSIDE, "RANK": "5", "WORLD_SIZE": "16", "SLURM_PROCID": "1"}, Worker(1, 4)),
        ({**INSIDE, "RANK": "1", "WORLD_SIZE": "16", "SLURM_STEP_NUM_TASKS": "4"}, Worker(1, 4)),
        ({**INSIDE, "RANK": "1", "WORLD_SIZE": "4", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}, None),
        # A wrapper of mpirun's, or deepspeed in the program, that copies but the number.
        ({"LOCAL_RANK": "3", **of_open_mpi(3, 16)}, Worker(3, 16)),
        ({"LOCAL_RANK": "9", "WORLD_SIZE": "32", **of_open_mpi(9, 16)}, Worker(9, 16)),
        ({"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "16", **of_open_mpi(3, 16)}, Worker(3, 16)),
        # Launchers inside each other: the inner one's worker.
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", **of_open_mpi(3, 8)}, Worker(1, 2)),
        ({"LOCAL_RANK": " 3 ", "LOCAL_WORLD_SIZE": "8\n"}, Worker(3, 8)),
        ({"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "-1"}, Worker(3, 8)),
        ({"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": ""}, Worker(3, 8)),
        # HPE's srun numbers its tasks for PMI too.
        ({"PMI_LOCAL_RANK": "2", "PMI_LOCAL_SIZE": "4", "SLURM_LOCALID": "2", **TASKS}, None),
    ],
)
def test_a_worker_is_what_a_launcher_numbered(environment: dict[str, str], worker: Worker) -> None:
    numbering = number(environment, gpus=8)
    assert (numbering.worker, numbering.doubt) == (worker, None)


def test_arguments_stand_above_the_environment() -> None:
    environment = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert number(environment, 3).worker == Worker(3, 4)
    assert number(environment, 3, 8).worker == Worker(3, 8)
    assert number(environment, None, 8).worker == Worker(1, 8)
    assert number({}, 3, gpus=4).worker == Worker(3, 4)


def test_a_rank_that_cannot_be_is_refused_in_a_line() -> None:
    with pytest.raises(RequestError, match="local rank 4 is not below"):
        number({}, 4, 4)
    with pytest.raises(RequestError, match="Use --local-world-size"):
        number({}, 0)


@pytest.mark.parametrize(
    "environment",
    [
        {"LOCAL_RANK": "x"},
        {"LOCAL_RANK": "1.0", "LOCAL_WORLD_SIZE": "4"},
        {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "x\n"},
        {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "0"},
        {"LOCAL_RANK": "4", "LOCAL_WORLD_SIZE": "4"},
        {"OMPI_COMM_WORLD_LOCAL_RANK": "one"},
        {"LOCAL_RANK": "-2"},
        {"LOCAL_RANK": "+3", "LOCAL_WORLD_SIZE": "8"},
        {"LOCAL_RANK": "1_0", "LOCAL_WORLD_SIZE": "12"},
        {"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "-5"},
        {"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "99999999999"},
    ],
)
def test_a_variable_that_is_no_such_number_is_an_error_in_a_line(environment: dict[str, str]) -> None:
    with pytest.raises(RequestError) as raised:
        number(environment, gpus=8)
    assert "\n" not in str(raised.value) and any(
        name in str(raised.value) for name in (*environment, "local rank")
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"LOCAL_RANK": "9"},
        {"RANK": "3", "WORLD_SIZE": "8"},
        {"PMI_RANK": "0", "PMI_SIZE": "8"},
        {"PMIX_RANK": "3"},
    ],
)
def test_a_worker_that_cannot_be_told_which_is_a_doubt(environment: dict[str, str]) -> None:
    numbering = number(environment, gpus=8)
    assert numbering.worker is None
    assert numbering.doubt is not None and "--local-" in numbering.doubt


def test_a_rank_beyond_all_workers_is_a_doubt_that_names_both() -> None:
    numbering = number({"LOCAL_RANK": "5", "WORLD_SIZE": "4"}, gpus=8)
    assert numbering.worker is None and numbering.doubt is not None
    assert numbering.doubt.startswith("LOCAL_RANK is 5 but WORLD_SIZE is 4: ")


@pytest.mark.parametrize("more", [{}, {"WORLD_SIZE": "4"}])
def test_two_launchers_that_contradict_each_other_are_a_doubt(more: dict[str, str]) -> None:
    """Programs open the GPU of LOCAL_RANK, so that is kept, and said."""
    numbering = number({"LOCAL_RANK": "1", **more, **of_open_mpi(3, 4)}, gpus=8)
    assert numbering.worker is not None and numbering.worker.rank == 1
    assert "LOCAL_RANK is 1 but OMPI_COMM_WORLD_LOCAL_RANK is 3" in (numbering.doubt or "")


def test_a_copied_number_is_the_worker_that_mpirun_numbered() -> None:
    """By the source another placement, and an mpirun that has bound it, are known."""
    worker = number({"LOCAL_RANK": "3", **of_open_mpi(3, 8)}, gpus=8).worker
    assert worker is not None and worker.source == "OMPI_COMM_WORLD_LOCAL_RANK"
    elastic = number({"LOCAL_RANK": "3", **ELASTIC, **of_open_mpi(3, 16)}, gpus=8).worker
    assert elastic is not None and str(elastic) == "LOCAL_RANK=3/8"


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"PMI_RANK": "3", "PMI_SIZE": "8", "SLURM_PROCID": "3"},
        {"PMIX_RANK": "3", "SLURM_PROCID": "3"},
        {"WORLD_SIZE": "8"},
    ],
)
def test_a_task_of_slurm_and_a_process_alone_are_no_doubt(environment: dict[str, str]) -> None:
    assert number(environment, gpus=8).doubt is None


def test_with_one_gpu_there_is_nothing_to_divide() -> None:
    assert number({"RANK": "3", "WORLD_SIZE": "8"}, gpus=1).doubt is None


def test_without_gpus_a_rank_alone_is_a_doubt() -> None:
    assert "LOCAL_RANK" in (number({"LOCAL_RANK": "0"}).doubt or "")


@pytest.mark.parametrize("source", ["", *(launcher.rank for launcher in LAUNCHERS)])
def test_a_worker_is_read_as_it_was_written(source: str) -> None:
    worker = Worker(5, 8, source)
    again = Worker.read(str(worker))
    assert again is not None and (again, again.source) == (worker, source)
    assert worker.is_again(again)


def test_the_same_number_of_another_launcher_is_another_worker() -> None:
    assert not Worker(1, 2, "LOCAL_RANK").is_again(Worker(1, 2, "OMPI_COMM_WORLD_LOCAL_RANK"))
    assert Worker(1, 2).is_again(Worker(1, 2, "LOCAL_RANK"))
    assert not Worker(0, 2).is_again(Worker(1, 2))


@pytest.mark.parametrize("text", ["", "x", "1", "1/x", "LOCAL_RANK=", "LOCAL_RANK=1/"])
def test_other_text_is_no_worker(text: str) -> None:
    assert Worker.read(text) is None


def test_an_mpi_that_has_bound_its_worker_is_told_how_not_to() -> None:
    open_mpi, hydra = Worker(1, 2, "OMPI_COMM_WORLD_LOCAL_RANK"), Worker(1, 2, "MPI_LOCALRANKID")
    assert bound_by_launcher({}, open_mpi, (0,), (0, 1)) == "start it with --bind-to none"
    assert bound_by_launcher({}, open_mpi, (0, 1), (0, 1)) is None
    free = {"OMPI_MCA_hwloc_base_binding_policy": "none"}
    assert bound_by_launcher(free, open_mpi, (0,), (0, 1)) is None
    pinned = {"I_MPI_PIN_INFO": "1"}
    assert "I_MPI_PIN=0" in (bound_by_launcher(pinned, hydra, (0,), (0, 1)) or "")
    assert bound_by_launcher({**pinned, "I_MPI_PIN": "off"}, hydra, (0,), (0, 1)) is None
    assert bound_by_launcher({}, hydra, (0,), (0, 1)) is None, "MPICH's binds nothing unless asked"
    assert bound_by_launcher({}, Worker(1, 2, "LOCAL_RANK"), (0,), (0, 1)) is None
    # Numbers that the program said, and has from mpirun.
    said = Worker(1, 2)
    assert bound_by_launcher({}, said, (0,), (0, 1)) is None
    assert "--bind-to none" in (bound_by_launcher(of_open_mpi(1, 2), said, (0,), (0, 1)) or "")
    assert bound_by_launcher(of_open_mpi(0, 4), said, (0,), (0, 1)) is None


def test_the_map_is_read_as_the_plugin_writes_it() -> None:
    assert read_map("0000:11:00.0=0-1,8@0;0000:12:00.0=2@0-1") == (
        Share("0000:11:00.0", (0, 1, 8), (0,)),
        Share("0000:12:00.0", (2,), (0, 1)),
    )


@pytest.mark.parametrize("text", ["", "x", "a=0@", "a=@0", "a=0@0;", "a=0;b=1@0", "=0@0", "a=9-1@0"])
def test_half_a_map_is_none(text: str) -> None:
    expected = (Share("a", (0,), ()),) if text == "a=0@" else ()
    assert read_map(text) == expected


@pytest.mark.parametrize(
    ("cpus", "memory", "explicit"),
    [
        ("mask_cpu:", "", (False, False)),
        ("none", "local", (False, False)),
        ("cores", "", (False, False)),
        ("map_cpu:", "map_mem:", (True, True)),
        ("map_ldom:", "mask_mem:", (True, True)),
        ("mask_ldom:", "rank", (True, True)),
        ("rank", "none", (True, True)),
        ("rank_ldom", "", (True, False)),
    ],
)
def test_places_are_explicit_and_grains_and_wishes_are_not(
    cpus: str, memory: str, explicit: tuple[bool, bool]
) -> None:
    environment = {"SLURM_CPU_BIND_TYPE": cpus, "SLURM_MEM_BIND_TYPE": memory}
    assert bound_explicitly(environment) == explicit


def test_masks_of_all_tasks_are_united() -> None:
    assert cpus_of_masks("0x3,0x30") == (0, 1, 4, 5)
    assert cpus_of_masks("0x3,junk") == ()


def test_a_step_extends_to_its_cpuset_or_else_its_tasks_masks() -> None:
    online = range(8)
    assert step_cpus({}, (1,), (0, 1, 2), online) == (0, 1, 2)
    assert step_cpus({"SLURM_CPU_BIND_LIST": "0x1,0x2"}, (1,), online, online) == (0, 1)
    assert step_cpus({"SLURM_CPU_BIND_LIST": "0x1"}, (1,), online, online) == (1,), "not this step's masks"
    assert step_cpus({}, (1,), online, online) == (1,)
