"""What the tasks of train.py reported, read back."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from numa_align.topology.gpu.pci import normalise_bdf

from gpu.cluster import FOLDER, NOBODY, Cluster
from gpu.driver import by_nvml

TRAIN = Path(__file__).with_name("train.py")


@dataclass(frozen=True)
class Task:
    """One process: its GPUs by UUID as CUDA names them, its CPUs and policy as the kernel does."""

    rank: int
    pid: int
    visible: tuple[str, ...]
    used: str
    cpus: frozenset[int]
    threads: tuple[frozenset[int], ...]
    workers: tuple[frozenset[int], ...]
    mode: str
    nodes: tuple[int, ...]
    loss: tuple[float, float]
    may_open: tuple[int, ...]
    environment: Mapping[str, str]

    @property
    def state(self) -> str:
        return self.environment.get("NUMA_ALIGN_STATE", "not set")

    @property
    def bdfs(self) -> tuple[str, ...]:
        """The GPUs that the plugin found."""
        return tuple(self.environment.get("NUMA_ALIGN_GPUS", "").split(","))


def read(text: str) -> list[Task]:
    """The tasks of an output, by rank."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    tasks = [
        Task(
            rank=line["rank"],
            pid=line["pid"],
            visible=tuple(line["visible"]),
            used=line["used"],
            cpus=frozenset(line["cpus"]),
            threads=tuple(frozenset(cpus) for cpus in line["threads"]),
            workers=tuple(frozenset(cpus) for cpus in line["workers"]),
            mode=line["mode"],
            nodes=tuple(line["nodes"]),
            loss=(line["loss"][0], line["loss"][1]),
            may_open=tuple(line["may_open"]),
            environment=line["environment"],
        )
        for line in lines
    ]
    return sorted(tasks, key=lambda task: task.rank)


def program(*words: str) -> str:
    """The training as a command; a copy, since a user need not be able to read the project's folder."""
    return shlex.join([sys.executable, f"{FOLDER}/train.py", *words])


def uuids(bdfs: Sequence[str]) -> tuple[str, ...]:
    """By NVML, which has no part in what the plugin did."""
    by_bdf = {normalise_bdf(device.bus_id): device.uuid for device in by_nvml()}
    return tuple(by_bdf[bdf] for bdf in bdfs)


def train(cluster: Cluster, srun: str, *words: str) -> list[Task]:
    """Run the training under a line of srun, as a user without rights."""
    cluster.put("train.py", TRAIN.read_bytes())
    done = cluster.run(f"{srun} {program(*words)}", user=NOBODY, timeout=240, check=True)
    print(f"$ {srun} train.py\n{done.stdout}{done.stderr}")
    return read(done.stdout)
