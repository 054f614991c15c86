"""Real launchers, and what is decided for the workers that they start, on a machine with 28 CPUs per worker.

The launchers run here, on however few CPUs: their workers write down their environment. What these get is
then asked of the pure decision, on a machine with 224 CPUs and eight GPUs. Launchers of Python's come with
``pip install '.[launchers]'`` into the Python of these tests, or the one that NUMA_ALIGN_LAUNCHERS names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

import pytest
from numa_align.placement.decide import note_of, warning_of
from unit.big_machine import EVERY, aligned_task, big

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("NUMA_ALIGN_LAUNCHERS", sys.executable)
COUNT = 8

#: Run as a worker: writes down its environment and its CPUs.
WORKER = """
import json, os, pathlib, sys
seen = {"environment": dict(os.environ), "cpus": sorted(os.sched_getaffinity(0)), "number": sys.argv[1:]}
pathlib.Path(os.environ["SEEN"], str(os.getpid())).write_text(json.dumps(seen))
"""

#: What the launchers that are programs of Python's need, and how their program comes to run the worker.
LIGHTNING = """
import subprocess, sys
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.callbacks import Callback

class Look(Callback):
    def setup(self, trainer, module, stage):
        numbers = [str(trainer.local_rank), str(trainer.num_devices)]
        subprocess.run([sys.executable, "worker.py", *numbers], check=True)

if __name__ == "__main__":
    Trainer(accelerator="cpu", devices=2, strategy="ddp", max_steps=1, logger=False, callbacks=[Look()],
            enable_checkpointing=False, enable_progress_bar=False, limit_val_batches=0).fit(BoringModel())
"""
RAY = """
import runpy, sys
import ray

ray.init(num_cpus=8, num_gpus=8, include_dashboard=False, logging_level="ERROR",
         object_store_memory=100 << 20)

@ray.remote(num_gpus=1, num_cpus=1)
class Actor:
    def look(self):
        sys.argv[1:] = []
        runpy.run_path("worker.py")

actors = [Actor.remote() for _ in range(8)]
ray.get([actor.look.remote() for actor in actors])
"""
DASK = """
import runpy, sys
from distributed import Client, LocalCluster

def look(dask_worker):
    sys.argv[1:] = [str(dask_worker.name)]
    runpy.run_path("worker.py")

if __name__ == "__main__":
    with LocalCluster(n_workers=8, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            client.run(look)
"""
SPAWN = """
import runpy, sys
from torch.multiprocessing import spawn

def look(number):
    sys.argv[1:] = [str(number)]
    runpy.run_path("worker.py")

if __name__ == "__main__":
    spawn(look, nprocs=8)
"""


def has(module: str) -> bool:
    question = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([PYTHON, "-c", question], check=False, timeout=60).returncode == 0


class Seen:
    """One worker of a real launcher."""

    def __init__(self, text: str) -> None:
        data = json.loads(text)
        self.environment: dict[str, str] = data["environment"]
        self.cpus = tuple(data["cpus"])
        self.numbers = [int(number) for number in data["number"]]


def launch(tmp_path: Path, command: Sequence[str], program: str = "", **more: str) -> list[Seen]:
    """Runs a launcher in a folder with the worker, and returns what its workers wrote down."""
    seen = tmp_path / "seen"
    seen.mkdir()
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "program.py").write_text(program)
    foreign = ("NUMA_ALIGN", "SLURM_", "LOCAL_", "CUDA_", "OMPI_", "PMI", "RANK", "WORLD_SIZE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environment, **root, "SEEN": str(seen), **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return [Seen(path.read_text()) for path in sorted(seen.iterdir())]


def assert_each_its_part(placed: Mapping[int, Sequence[int]], cpus_each: int) -> None:
    """By GPU: as many CPUs each, none twice, none idle."""
    assert sorted(placed) == list(range(len(placed)))
    assert {len(cpus) for cpus in placed.values()} == {cpus_each}
    together = [cpu for cpus in placed.values() for cpu in cpus]
    assert sorted(together) == sorted(set(together))
    if cpus_each * len(placed) == len(EVERY):
        assert sorted(together) == list(EVERY)


def parts(
    workers: Sequence[Seen], around: Mapping[str, str], numbers: Optional[int] = None
) -> dict[int, tuple[int, ...]]:
    """What each worker gets in a task, by its GPU; ``numbers``: it says its number, and this count."""
    placed = {}
    for worker in workers:
        rank = None if numbers is None else worker.numbers[0]
        decision = big({**worker.environment, **around}, rank=rank, count=numbers)
        assert decision.placement.state == "aligned" and not decision.doubts
        (gpu,) = decision.placement.gpus
        placed[gpu] = decision.placement.cpus
    return placed


#: Where the launcher runs: on a machine of its own, or in a task that the plugin has aligned.
AROUND: tuple[Mapping[str, str], ...] = ({}, aligned_task())


def test_torchrun(tmp_path: Path) -> None:
    if not has("torch"):
        pytest.skip("there is no torch")
    words = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={COUNT}", "--no-python"]
    workers = launch(tmp_path, [PYTHON, *words, PYTHON, "worker.py"])
    for around in AROUND:
        assert_each_its_part(parts(workers, around), 28)


def test_accelerate(tmp_path: Path) -> None:
    if not has("accelerate"):
        pytest.skip("there is no accelerate")
    words = f"launch --multi_gpu --num_machines=1 --num_processes={COUNT} --mixed_precision=no --no_python"
    launcher = [PYTHON, "-m", "accelerate.commands.accelerate_cli", *words.split(), "--dynamo_backend=no"]
    workers = launch(tmp_path, [*launcher, PYTHON, "worker.py"])
    for around in AROUND:
        assert_each_its_part(parts(workers, around), 28)


def test_torchs_spawn(tmp_path: Path) -> None:
    if not has("torch"):
        pytest.skip("there is no torch")
    workers = launch(tmp_path, [PYTHON, "program.py"], SPAWN)
    for around in AROUND:
        assert_each_its_part(parts(workers, around, COUNT), 28)


def test_lightnings_own_launcher(tmp_path: Path) -> None:
    """The second process has LOCAL_RANK and WORLD_SIZE, no LOCAL_WORLD_SIZE; a callback knows the numbers."""
    if not has("lightning"):
        pytest.skip("there is no lightning")
    workers = launch(tmp_path, [PYTHON, "program.py"], LIGHTNING)
    assert sorted(worker.numbers for worker in workers) == [[0, 2], [1, 2]]
    assert all("LOCAL_WORLD_SIZE" not in worker.environment for worker in workers)
    for around in AROUND:
        assert set(parts(workers, around)) == {0, 1}
        assert set(parts(workers, around, 2)) == {0, 1}


def test_rays_actors(tmp_path: Path) -> None:
    if not has("ray"):
        pytest.skip("there is no ray")
    workers = launch(tmp_path, [PYTHON, "program.py"], RAY, RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
    assert sorted(worker.environment["CUDA_VISIBLE_DEVICES"] for worker in workers) == list("01234567")
    for around in AROUND:
        assert_each_its_part(parts(workers, around), 28)


def test_dasks_workers(tmp_path: Path) -> None:
    """Dask sets nothing of its own; dask-cuda, whose workers have these names, turns the list of GPUs."""
    if not has("distributed"):
        pytest.skip("there is no dask.distributed")
    workers = launch(tmp_path, [PYTHON, "program.py"], DASK)
    for around in AROUND:
        assert_each_its_part(parts(workers, around, COUNT), 28)
    for worker in workers:
        rank = worker.numbers[0]
        turned = (str((rank + i) % COUNT) for i in range(COUNT))
        worker.environment["CUDA_VISIBLE_DEVICES"] = ",".join(turned)
    for around in AROUND:
        assert_each_its_part(parts(workers, around, COUNT), 28)


#: Beside the Python that has the launchers: `impi-rt` brings Intel's.
BESIDE = Path(PYTHON).parent
INTEL = BESIDE / "mpiexec.hydra"
INTEL_NEEDS = {"I_MPI_ROOT": str(BESIDE.parent), "LD_LIBRARY_PATH": str(BESIDE.parent / "lib")}


def intel(**more: str) -> dict[str, str]:
    path = f"{BESIDE}:{os.environ['PATH']}"
    return {**INTEL_NEEDS, "PATH": path, **more}


#: Program, words, variables.
MPIRUNS: Mapping[str, tuple[str, Sequence[str], Mapping[str, str]]] = {
    "Open MPI": ("mpirun.openmpi", ["--oversubscribe", "--bind-to", "none"], {}),
    "MPICH": ("mpirun.mpich", [], {}),
    "Intel MPI": (str(INTEL), [], intel(I_MPI_PIN="0")),
}


@pytest.mark.parametrize("mpi", MPIRUNS)
def test_mpirun(tmp_path: Path, mpi: str) -> None:
    mpirun, words, variables = MPIRUNS[mpi]
    if shutil.which(mpirun) is None:
        pytest.skip(f"there is no {mpirun}")
    command = [mpirun, "-np", str(COUNT), *words, sys.executable, "worker.py"]
    workers = launch(tmp_path, command, **variables)
    for around in AROUND:
        assert_each_its_part(parts(workers, around), 28)


@pytest.mark.parametrize(
    ("mpirun", "variables", "cure"),
    [("mpirun.openmpi", {}, "--bind-to none"), (str(INTEL), intel(), "I_MPI_PIN=0")],
    ids=["Open MPI", "Intel MPI"],
)
def test_mpirun_that_binds_is_told_how_not_to(
    tmp_path: Path, mpirun: str, variables: Mapping[str, str], cure: str
) -> None:
    if shutil.which(mpirun) is None or len(os.sched_getaffinity(0)) < 2:
        pytest.skip(f"needs {mpirun} and two CPUs")
    workers = launch(tmp_path, [mpirun, "-np", "2", sys.executable, "worker.py"], **variables)
    assert [len(worker.cpus) for worker in workers] == [1, 1], "mpirun has not bound them"
    for worker in workers:
        decision = big(worker.environment, worker.cpus)
        assert decision.placement.cpus == worker.cpus
        assert cure in (warning_of(decision) or note_of(decision) or "")


def test_composer(tmp_path: Path) -> None:
    if not has("composer"):
        pytest.skip("there is no composer")
    composer = [PYTHON, "-m", "composer.cli.launcher", "-n", str(COUNT), "-c"]
    workers = launch(tmp_path, [*composer, PYTHON, "worker.py"])
    for around in AROUND:
        assert_each_its_part(parts(workers, around), 28)


def test_deepspeed(tmp_path: Path) -> None:
    """Its workers have LOCAL_SIZE, and all of them the list of GPUs that it was told to use."""
    if not has("deepspeed"):
        pytest.skip("there is no deepspeed")
    words = ["-m", "deepspeed.launcher.runner", "--num_gpus", str(COUNT), "--no_python", "--no_local_rank"]
    workers = launch(tmp_path, [PYTHON, *words, PYTHON, "worker.py"], DS_ACCELERATOR="cpu")
    for around in AROUND:
        assert_each_its_part(parts(workers, around), 28)
