"""torchrun, accelerate, DataLoader: workers that Slurm never sees, each in its part of the task's set."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from numa_align.cpulist import parse_cpulist
from numa_align.topology.model import Gpu
from numa_align.topology.read import read_here

from gpu.cluster import NOBODY, Cluster
from gpu.tasks import TRAIN, Task, program, read, uuids

BIN = Path(sys.executable).parent
TORCHRUN = f"{BIN}/torchrun --standalone --nproc-per-node=2 --no-python"
ACCELERATE = (
    f"{BIN}/accelerate launch --multi_gpu --num_machines=1 --num_processes=2 --mixed_precision=no"
    " --dynamo_backend=no --no_python"
)
#: By the module that has it.
LAUNCHERS = {"torch": TORCHRUN, "accelerate": ACCELERATE}


def in_their_parts(workers: Sequence[Task]) -> None:
    """Each with its own GPU, as CUDA opens it, and CPUs of its own, DataLoader's processes among them."""
    assert [worker.rank for worker in workers] == [0, 1]
    for worker in workers:
        assert worker.state == "aligned"
        assert (worker.used,) == uuids(worker.bdfs)
        assert worker.cpus == set(parse_cpulist(worker.environment["NUMA_ALIGN_CPUS"]))
        assert all(cpus <= worker.cpus for cpus in worker.threads)
        assert len(worker.workers) == 2
        assert all(cpus <= worker.cpus for cpus in worker.workers)
        assert worker.mode == "preferred-many"
        assert worker.loss[1] < worker.loss[0]
    assert workers[0].used != workers[1].used
    assert not workers[0].cpus & workers[1].cpus


@pytest.mark.gpus(2)
@pytest.mark.parametrize("module", LAUNCHERS)
def test_a_launcher_s_workers_divide_an_aligned_task(cluster: Cluster, module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    cluster.put("train.py", TRAIN.read_bytes())
    srun = f"srun --numa-align -n1 -c8 --gpus=2 {LAUNCHERS[module]} numa-align run {program()}"
    done = cluster.run(srun, user=NOBODY, timeout=240, check=True)
    print(f"$ {srun}\n{done.stdout}{done.stderr}")
    workers = read(done.stdout)
    in_their_parts(workers)
    assert [len(worker.cpus) for worker in workers] == [4, 4]


@pytest.mark.gpus(2)
def test_without_slurm_torchrun_s_workers_divide_the_machine(cluster: Cluster, gpus: tuple[Gpu, ...]) -> None:
    cluster.put("train.py", TRAIN.read_bytes())
    done = cluster.run(f"{TORCHRUN} numa-align run {program()}", user=NOBODY, timeout=240, check=True)
    print(f"$ {TORCHRUN} numa-align run train.py\n{done.stdout}{done.stderr}")
    workers = read(done.stdout)
    in_their_parts(workers)
    if len({gpu.node for gpu in gpus}) == 1:
        assert frozenset.union(*(worker.cpus for worker in workers)) == set(read_here().online)


def test_run_keeps_every_thread_of_an_import_of_pytorch_inside(
    cluster: Cluster, gpus: tuple[Gpu, ...]
) -> None:
    """numa-align run binds before PyTorch starts threads, so none is left behind."""
    cluster.put("train.py", TRAIN.read_bytes())
    bdf = gpus[-1].bdf
    command = f"CUDA_VISIBLE_DEVICES={gpus[-1].uuid} numa-align run {program()}"
    done = cluster.run(command, user=NOBODY, check=True)
    (task,) = read(done.stdout)
    assert task.bdfs == (bdf,)
    assert (task.used,) == (gpus[-1].uuid,)
    assert all(cpus <= task.cpus for cpus in (*task.threads, *task.workers))
