"""What the calling process is: a task of a step, a launcher's worker inside one, or alone.

Launchers number their workers in variables, see `LAUNCHERS`. Pure: takes an environment, returns values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from ..cpulist import parse_cpulist
from ..errors import RequestError
from ..slurm_env import place_of, to_number


@dataclass(frozen=True)
class Launcher:
    """The variables by which a launcher gives a worker its number on the node and the number of workers.

    ``total`` counts the workers of all nodes, which helps if there is only one node, as ``nodes`` may say.
    """

    rank: str
    sizes: tuple[str, ...] = ()
    total: Optional[str] = None
    nodes: tuple[str, ...] = ()


_SLURM_NODES = ("SLURM_STEP_NUM_NODES", "SLURM_JOB_NUM_NODES")

#: Innermost first: a torchrun that mpirun started numbers its own workers. In this order: torchrun (PyTorch,
#: "torchrun (Elastic Launch)"), Composer, accelerate and Lightning, which do not set LOCAL_WORLD_SIZE, and
#: deepspeed, which sets LOCAL_SIZE (deepspeed/launcher/launch.py); Open MPI ("Environment variables set for
#: MPI applications"); hydra, of MPICH and Intel MPI (Intel MPI reference, "Environment Variables");
#: MVAPICH2 (user guide, "MPI library environment"); HPE's PALS (mpiexec(1)); Horovod
#: (horovod/runner/gloo_run.py); IBM's JSM (jsrun); Flux (flux-environment(7)); HPE's PMI (intro_pmi(3)).
LAUNCHERS = (
    Launcher("LOCAL_RANK", ("LOCAL_WORLD_SIZE", "LOCAL_SIZE"), "WORLD_SIZE", (*_SLURM_NODES, "NNODES")),
    Launcher("HOROVOD_LOCAL_RANK", ("HOROVOD_LOCAL_SIZE",)),
    Launcher("OMPI_COMM_WORLD_LOCAL_RANK", ("OMPI_COMM_WORLD_LOCAL_SIZE",)),
    Launcher("MPI_LOCALRANKID", ("MPI_LOCALNRANKS",)),
    Launcher("MV2_COMM_WORLD_LOCAL_RANK", ("MV2_COMM_WORLD_LOCAL_SIZE",)),
    Launcher("PALS_LOCAL_RANKID", ("PALS_LOCAL_SIZE",)),
    Launcher("JSM_NAMESPACE_LOCAL_RANK", ("JSM_NAMESPACE_LOCAL_SIZE",)),
    Launcher("FLUX_TASK_LOCAL_ID", (), "FLUX_JOB_SIZE", ("FLUX_JOB_NNODES",)),
    Launcher("PMI_LOCAL_RANK", ("PMI_LOCAL_SIZE",)),
)

#: Only workers of torchrun have it.
_ELASTIC = "TORCHELASTIC_RUN_ID"

#: Ranks over all nodes, and their number: a process with one is a worker, but its local number is unknown.
_GLOBAL = (("RANK", "WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE"), ("PMIX_RANK", None))


@dataclass(frozen=True)
class Worker:
    """Number ``rank`` of the ``count`` workers that one launcher runs on this node.

    ``source`` is the variable that numbered it, or "" if the caller gave the number.
    """

    rank: int
    count: int
    source: str = field(default="", compare=False)

    def __str__(self) -> str:
        """Format it as NUMA_ALIGN_WORKER: ``LOCAL_RANK=5/8``, or ``5/8``."""
        return f"{self.source}{'=' if self.source else ''}{self.rank}/{self.count}"

    @classmethod
    def read(cls, text: str) -> Optional[Worker]:
        """Parse NUMA_ALIGN_WORKER; None for any other text."""
        source, _, numbers = text.rpartition("=")
        rank, count = (to_number(part) for part in numbers.partition("/")[::2])
        return None if rank is None or count is None else cls(rank, count, source)

    def is_again(self, placed: Optional[Worker]) -> bool:
        """Whether this is the worker that was placed before, and not the same number of another launcher."""
        return self == placed and (not self.source or not placed.source or self.source == placed.source)


@dataclass(frozen=True)
class Numbering:
    """The worker that the process is; None for a task itself or a process without a launcher.

    ``doubt``: why a worker's number cannot be determined, or not for certain, and what helps.
    """

    worker: Optional[Worker] = None
    doubt: Optional[str] = None


@dataclass(frozen=True)
class Share:
    """One entry of NUMA_ALIGN_MAP: a GPU's CPUs and memory nodes within the task's own set."""

    bdf: str
    cpus: tuple[int, ...]
    memory_nodes: tuple[int, ...]


def number(
    environment: Mapping[str, str],
    local_rank: Optional[int] = None,
    local_world_size: Optional[int] = None,
    gpus: int = 0,
) -> Numbering:
    """Which worker this process is.

    Arguments override the environment. A rank without a count is one of as many as the task has ``gpus``.
    Raises RequestError for a variable that is not a number, and for a rank not below the number of workers.
    """
    launcher = next((known for known in LAUNCHERS if _value(environment, known.rank) is not None), None)
    if local_rank is not None:
        return Numbering(_said(environment, local_rank, local_world_size, gpus))
    if launcher is None:
        return Numbering(None, _global_only(environment) if gpus > 1 else None)
    rank = _number(environment, launcher.rank) or 0
    count = _count(environment, launcher) if local_world_size is None else local_world_size
    if _is_task(environment, rank, count):
        # Scripts set LOCAL_RANK from SLURM_LOCALID for each task; then the process is that task.
        return Numbering()
    if count is None:
        launcher = _copied_from(environment, rank) or launcher
        count = _count(environment, launcher)
    guess = count or _one_node(environment, launcher, gpus) or gpus
    if count is None and rank >= guess:
        return Numbering(None, _no_such_worker(environment, launcher, rank, gpus))
    doubt = _contradiction(environment, launcher, rank) if count is None else None
    return Numbering(_checked(rank, guess, launcher.rank), doubt)


def _copied_from(
    environment: Mapping[str, str], rank: int, count: Optional[int] = None
) -> Optional[Launcher]:
    """The launcher whose number LOCAL_RANK repeats, with the same ``count`` if one is given.

    Scripts under mpirun set LOCAL_RANK to mpirun's number, and deepspeed does so inside the program.
    A torchrun that mpirun started numbers its own workers, which may have mpirun's number by chance.
    """
    if environment.get(_ELASTIC):
        return None
    for launcher in LAUNCHERS[1:]:
        if _value(environment, launcher.rank) is not None and _number(environment, launcher.rank) == rank:
            return launcher if count in (None, _count(environment, launcher)) else None
    return None


def _contradiction(environment: Mapping[str, str], launcher: Launcher, rank: int) -> Optional[str]:
    """The message for a number without a count if another launcher gave a different number."""
    for other in LAUNCHERS:
        if other is launcher or _value(environment, other.rank) is None:
            continue
        return (
            f"{launcher.rank} is {rank} but {other.rank} is {_number(environment, other.rank)}: this is "
            f"taken for worker {rank}; use --local-rank and --local-world-size (bind_local_rank(rank, N))"
        )
    return None


def _no_such_worker(environment: Mapping[str, str], launcher: Launcher, rank: int, gpus: int) -> str:
    """The message for a number that is too large for the likely number of workers."""
    total = _one_node(environment, launcher, gpus)
    if total is not None:
        unknown = f"{launcher.total} is {total}"
    else:
        has = f"; the task has {gpus} GPUs" if gpus else ""
        unknown = f"the number of workers on this node is unknown{has}"
    return f"{launcher.rank} is {rank} but {unknown}: use --local-world-size N (bind_local_rank(rank, N))"


def _said(environment: Mapping[str, str], rank: int, local_world_size: Optional[int], gpus: int) -> Worker:
    counts = (_count(environment, launcher) for launcher in LAUNCHERS)
    count = local_world_size or next((known for known in counts if known is not None), None) or gpus
    if not count:
        raise RequestError("--local-rank: how many workers are there? Use --local-world-size N")
    return _checked(rank, count, "")


def _checked(rank: int, count: int, source: str) -> Worker:
    if not 0 <= rank < count:
        raise RequestError(f"local rank {rank} is not below the number of local workers, {count}")
    return Worker(rank, count, source)


def _value(environment: Mapping[str, str], name: str) -> Optional[str]:
    """The variable's value, if it has one: programs treat an empty text and -1 as unset."""
    text = environment.get(name, "").strip()
    return None if text in ("", "-1") else text


def _number(environment: Mapping[str, str], name: str) -> Optional[int]:
    text = _value(environment, name)
    if text is None:
        return None
    found = to_number(text)
    if found is None:
        raise RequestError(
            f"{name} is {text[:40]!r} and should be a number from 0 to 999999: which worker is this?"
        )
    return found


def _count(environment: Mapping[str, str], launcher: Launcher) -> Optional[int]:
    """The number of workers on this node, according to the launcher."""
    for name in launcher.sizes:
        count = _number(environment, name)
        if count == 0:
            raise RequestError(f"{name} is 0 and should be the number of workers on this node")
        if count is not None:
            return count
    return None


def _one_node(environment: Mapping[str, str], launcher: Launcher, gpus: int) -> Optional[int]:
    """The number of workers on all nodes, if this is the only node.

    If the number of nodes is unknown, as many workers as the task has GPUs are assumed to be here; if they
    are not, each still gets a separate part near the right GPU.
    """
    total = to_number(environment.get(launcher.total)) if launcher.total else None
    nodes = next((n for n in map(to_number, map(environment.get, launcher.nodes)) if n is not None), None)
    if not total or (nodes or 1) > 1:
        return None
    return total if nodes == 1 or not gpus or total <= gpus else None


def _is_task(environment: Mapping[str, str], rank: int, count: Optional[int]) -> bool:
    """Whether these are Slurm's own numbers for the task, and not a worker's that happens to have the same.

    torchrun is recognised by its variable; for other launchers the numbers over all nodes usually differ.
    """
    place = place_of(environment)
    over_all = (("RANK", "SLURM_PROCID"), ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))
    pairs = ((to_number(environment.get(a)), to_number(environment.get(b))) for a, b in over_all)
    return (
        place.tasks > 1
        and rank == place.id
        and count in (None, place.tasks)
        and not environment.get(_ELASTIC)
        and all(None in pair or pair[0] == pair[1] for pair in pairs)
    )


def _global_only(environment: Mapping[str, str]) -> Optional[str]:
    """A doubt about a worker that has only a rank over all nodes, and is not simply a task of Slurm's."""
    for rank, size in _GLOBAL:
        own = to_number(environment.get(rank))
        alone = size is not None and (to_number(environment.get(size)) or 0) < 2
        if own is None or alone or own == to_number(environment.get("SLURM_PROCID")):
            continue
        return (
            f"{rank} is {own}, so this is one of several workers, but its number on this node is unknown: "
            "use --local-rank and --local-world-size (bind_local_rank(rank, N)); it is bound as the only one"
        )
    return None


def bound_by_launcher(
    environment: Mapping[str, str], worker: Worker, mask: Sequence[int], reach: Sequence[int]
) -> Optional[str]:
    """Advice for the MPI that has bound this worker to a part of what it can ``reach``; None if none has.

    The mpiruns of Open MPI and Intel MPI bind unless told not to, and their workers' variables show what they
    were told (all workers of Intel MPI have I_MPI_PIN_INFO).
    """
    if not set(mask) < set(reach):
        return None
    source = worker.source
    if source in ("", LAUNCHERS[0].rank):  # the caller or a script may have copied mpirun's number
        origin = _copied_from(environment, worker.rank, worker.count)
        source = origin.rank if origin else source
    if source == "OMPI_COMM_WORLD_LOCAL_RANK":
        told = environment.get("OMPI_MCA_hwloc_base_binding_policy") == "none"
        return None if told else "start it with --bind-to none"
    if source == "MPI_LOCALRANKID" and "I_MPI_PIN_INFO" in environment:
        told = environment.get("I_MPI_PIN", "").lower() in ("0", "no", "off", "disable")
        return None if told else "start it with I_MPI_PIN=0 in the environment"
    return None


def read_map(text: str) -> tuple[Share, ...]:
    """NUMA_ALIGN_MAP, ``BDF=CPUS@NODES`` separated by semicolons; () if any entry is malformed."""
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


def bound_explicitly(environment: Mapping[str, str]) -> tuple[bool, bool]:
    """Whether --cpu-bind and --mem-bind name explicit places, as far as a task can know.

    In a task, SLURM_CPU_BIND_TYPE is ``mask_cpu:`` after Slurm's own choice too (slurmstepd sets it), so
    only its other words count. Slurm itself sets no memory policy. ``--cpu-bind=none`` lets us bind, and
    ``--mem-bind=local`` applies to wherever the task runs: it is kept at the new place.
    """
    cpus = environment.get("SLURM_CPU_BIND_TYPE", "")
    memory = environment.get("SLURM_MEM_BIND_TYPE", "")
    return (
        cpus.startswith(("map_cpu", "map_ldom", "mask_ldom", "rank")),
        memory.startswith(("map_mem", "mask_mem", "rank", "none")),
    )


def wants_local_memory(environment: Mapping[str, str]) -> bool:
    """Whether --mem-bind=local asks for local memory only; ``prefer`` lets it use other nodes too."""
    local = environment.get("SLURM_MEM_BIND_TYPE", "").startswith("local")
    return local and "prefer" not in environment.get("SLURM_MEM_BIND_PREFER", "")


def cpus_of_masks(text: str) -> tuple[int, ...]:
    """SLURM_CPU_BIND_LIST: the hexadecimal masks of all tasks of the step on this node, combined."""
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
    """The CPUs of the step: its cpuset if it is confined, else those of its tasks' masks, else ``mask``.

    Never more than the mask if the extent of the step is unknown.
    """
    if set(widest) != set(online):
        return tuple(widest)
    masks = set(cpus_of_masks(environment.get("SLURM_CPU_BIND_LIST", ""))) & set(widest)
    return tuple(sorted(masks)) if masks >= set(mask) else tuple(mask)
