"""Who the calling process is: a task of a step, a worker that a launcher started inside one, or alone.

Launchers number their workers in variables, see RANKS and SIZES. Pure: an environment in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ..cpulist import parse_cpulist
from ..errors import RequestError
from ..slurm_env import place_of, to_number

#: A worker's number on its node: torchrun (PyTorch: "torchrun (Elastic Launch)", Environment Variables),
#: Composer, accelerate, deepspeed; Open MPI's mpirun; MPICH's and Intel MPI's (hydra).
RANKS = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID")
#: How many there are on the node. deepspeed says LOCAL_SIZE (deepspeed/launcher/launch.py).
SIZES = ("LOCAL_WORLD_SIZE", "LOCAL_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")


@dataclass(frozen=True)
class Worker:
    """Number ``rank`` of the ``count`` workers that one launcher runs on this node."""

    rank: int
    count: int


@dataclass(frozen=True)
class Share:
    """One entry of NUMA_ALIGN_MAP: a GPU's CPUs and memory nodes within the task's own set."""

    bdf: str
    cpus: tuple[int, ...]
    memory_nodes: tuple[int, ...]


def worker_of(
    environment: Mapping[str, str],
    local_rank: Optional[int] = None,
    local_world_size: Optional[int] = None,
    gpus: int = 0,
) -> Optional[Worker]:
    """The worker that this process is, None for a task itself or a process without a launcher.

    Arguments stand above the environment. A rank alone is a worker of as many as the task has
    ``gpus``. Raises RequestError for a rank that is not below the number of workers.
    """
    given = local_rank is not None
    rank = local_rank if given else _first(environment, RANKS)
    count = _first(environment, SIZES) if local_world_size is None else local_world_size
    if rank is None or (count is None and not given):
        return None
    if not given and Worker(rank, count or 1) == _as_task(environment):
        # Scripts set LOCAL_RANK from SLURM_LOCALID for each task: then the task is what it names.
        return None
    if count is None:
        if not gpus:
            raise RequestError("--local-rank: how many workers are there? say --local-world-size N")
        count = gpus
    if not 0 <= rank < count:
        raise RequestError(f"local rank {rank} is not below the number of local workers, {count}")
    return Worker(rank, count)


def _first(environment: Mapping[str, str], names: Sequence[str]) -> Optional[int]:
    """The first of these variables that is a number."""
    numbers = (to_number(environment.get(name)) for name in names)
    return next((number for number in numbers if number is not None), None)


def _as_task(environment: Mapping[str, str]) -> Worker:
    place = place_of(environment)
    return Worker(place.id, place.tasks) if place.tasks > 1 else Worker(-1, 0)


def read_map(text: str) -> tuple[Share, ...]:
    """NUMA_ALIGN_MAP, ``BDF=CPUS@NODES`` parted by semicolons; () if any entry is not understood."""
    shares = []
    for entry in text.split(";"):
        bdf, equals, rest = entry.partition("=")
        cpus, at, nodes = rest.partition("@")
        try:
            share = Share(bdf, parse_cpulist(cpus), parse_cpulist(nodes))
        except ValueError:
            return ()
        if not (bdf and equals and at and share.cpus):
            return ()
        shares.append(share)
    return tuple(shares)


def bound_by_hand(environment: Mapping[str, str]) -> tuple[bool, bool]:
    """Whether --cpu-bind and --mem-bind were asked for, as far as a task can know.

    In a task SLURM_CPU_BIND_TYPE is ``mask_cpu:`` after Slurm's own choice too (slurmstepd sets it), so
    only the other words tell. Slurm chooses no memory policy itself.
    """
    cpus = environment.get("SLURM_CPU_BIND_TYPE", "")
    memory = environment.get("SLURM_MEM_BIND_TYPE", "")
    return (
        cpus.startswith(("map_cpu", "map_ldom", "mask_ldom", "rank")),
        memory.startswith(("map_mem", "mask_mem", "local", "rank")),
    )


def cpus_of_masks(text: str) -> tuple[int, ...]:
    """SLURM_CPU_BIND_LIST: the hexadecimal masks of all tasks of the step on this node, together."""
    bits = 0
    for mask in text.split(","):
        try:
            bits |= int(mask, 16)
        except ValueError:
            return ()
    return tuple(cpu for cpu in range(bits.bit_length()) if bits >> cpu & 1)


def step_cpus(
    environment: Mapping[str, str], mask: Sequence[int], widest: Sequence[int], online: Sequence[int]
) -> tuple[int, ...]:
    """The CPUs of the step: its cpuset where one confines it, else those of its tasks' masks, else ``mask``.

    Never more than the mask where nothing says how far the step reaches.
    """
    if set(widest) != set(online):
        return tuple(widest)
    masks = set(cpus_of_masks(environment.get("SLURM_CPU_BIND_LIST", ""))) & set(widest)
    return tuple(sorted(masks)) if masks >= set(mask) else tuple(mask)
