"""numa-align job on a running training: which of its processes use which GPU, by the driver's own account."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from numa_align.topology.model import Gpu

from gpu.cluster import NOBODY, Cluster
from gpu.driver import running_on
from gpu.tasks import TRAIN, Task, program, read, uuids

READY_LIMIT = 60.0
#: What train.py starts to make samples.
LOADERS = 2


def job(number: int) -> list[dict[str, Any]]:
    """From the node itself: inside a PID namespace the driver names no processes."""
    command = [sys.executable, "-m", "numa_align", "job", str(number), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0
    processes: list[dict[str, Any]] = json.loads(done.stdout)["processes"]
    return processes


def _is_loading(bdf: str) -> bool:
    """Whether a process computes on this GPU and has its loaders.

    They come after the first use of the GPU, at times late: the first optimizer imports half of PyTorch.
    """
    try:
        return any(len(psutil.Process(pid).children()) == LOADERS for pid in running_on(bdf))
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def running(cluster: Cluster, gpus: tuple[Gpu, ...]) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A training of two tasks that both see both GPUs, once both use one; its job's id."""
    cluster.put("train.py", TRAIN.read_bytes())
    line = f"srun --numa-align -n2 -c4 --gpus=2 {program('--seconds=60')}"
    started = cluster.start(line, user=NOBODY)
    try:
        cluster.await_jobs(1)
        until = time.monotonic() + READY_LIMIT
        while not all(_is_loading(gpu.bdf) for gpu in gpus[:2]):
            assert time.monotonic() < until, f"no training on a GPU\n{cluster.logs()}"
            time.sleep(0.5)
        yield int(cluster.run("squeue -h -o %i", check=True).stdout), started
    finally:
        started.terminate()
        started.wait(30)
        cluster.await_jobs(0)


def _of_rank(processes: list[dict[str, Any]], rank: int) -> list[dict[str, Any]]:
    return [process for process in processes if process["task"] == rank]


@pytest.mark.gpus(2)
def test_each_task_holds_the_gpu_that_cuda_opened_and_no_other(
    running: tuple[int, subprocess.Popen[str]], gpus: tuple[Gpu, ...]
) -> None:
    number, started = running
    processes = job(number)
    by_driver = {gpu.bdf: running_on(gpu.bdf) for gpu in gpus[:2]}
    out, _ = started.communicate(timeout=120)
    tasks = read(out)
    assert [task.rank for task in tasks] == [0, 1]
    for task in tasks:
        _agrees(task, _of_rank(processes, task.rank), by_driver)


@pytest.mark.gpus(2)
def test_audit_names_the_gpu_that_each_task_computes_on(
    running: tuple[int, subprocess.Popen[str]], gpus: tuple[Gpu, ...]
) -> None:
    number, _ = running
    command = [sys.executable, "-m", "numa_align", "audit", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    sample = json.loads(done.stdout)
    tasks = [task for task in sample["tasks"] if task["job"] == number]
    by_driver = {gpu.bdf: running_on(gpu.bdf) for gpu in gpus[:2]}
    computing = {process["pid"]: process["task"] for process in job(number)}
    of_task = {computing[pid]: bdf for bdf, pids in by_driver.items() for pid in pids if pid in computing}
    assert {task["task"]: task["gpus"] for task in tasks} == {rank: [bdf] for rank, bdf in of_task.items()}
    assert {task["state"] for task in tasks} == {"aligned"}
    assert sample["totals"]["by_state"]["aligned"] == sample["totals"]["in_use"] == 2


def _agrees(task: Task, processes: list[dict[str, Any]], by_driver: dict[str, set[int]]) -> None:
    """The task itself and its two DataLoader processes, all inside its CPUs; the task's GPU is CUDA's."""
    assert len(processes) == 1 + LOADERS
    assert {process["state"] for process in processes} == {"aligned"}
    assert {process["cpus"] for process in processes} == {task.environment["NUMA_ALIGN_CPUS"]}
    assert {thread["cpus"] for process in processes for thread in process["threads"]} == {
        task.environment["NUMA_ALIGN_CPUS"]
    }
    (bdf,) = (bdf for bdf, pids in by_driver.items() if processes[0]["pid"] in pids)
    assert uuids([bdf]) == (task.used,)
    for process in processes:
        assert [gpu["bdf"] for gpu in process["gpus"]] == [bdf], process["name"]
