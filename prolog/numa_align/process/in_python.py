"""`numa_align.bind_local_rank` and `numa_align.worker_init`: the binding from inside a Python program."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Optional

from ..cpulist import parse_cpulist
from ..errors import BindError, ClaimError, NumaAlignError, SpecError
from ..placement.decide import Request
from .affinity import bind_threads, read_policy, set_policy
from .apply import place_here, spec_of, thread_count


@dataclass(frozen=True)
class Binding:
    """What a process got: ``state`` (one of four words), CPUs and memory nodes, PCI addresses of its GPUs."""

    state: str
    cpus: tuple[int, ...]
    memory_nodes: tuple[int, ...]
    gpus: tuple[str, ...]


def bind_local_rank(
    local_rank: Optional[int] = None, local_world_size: Optional[int] = None, spec: Optional[str] = None
) -> Optional[Binding]:
    """Bind this process to its part of the task's CPUs and memory.

    Call it first of all, before CUDA, torch or numpy start threads and touch memory. The worker is
    LOCAL_RANK of LOCAL_WORLD_SIZE, or what its launcher calls them (`RANKS` and `SIZES` in
    `placement.launcher`), unless said here; without either the process is the task itself.
    ``spec`` has the words of ``srun --numa-align=``. Fails open: what goes wrong is a
    `RuntimeWarning` and the program runs on; None is returned if nothing could be decided.
    With ``strict`` among the words a process that is not aligned gets NumaAlignError instead.
    """
    try:
        read = spec_of(spec, os.environ)
    except ClaimError as error:  # not compiled for this Python
        warnings.warn(f"numa_align: {error}; nothing is bound", RuntimeWarning, stacklevel=2)
        return None
    if not read.on:
        return None
    threads = thread_count()
    if threads > 1:
        warnings.warn(
            f"numa_align: {threads} threads are running already; their CPUs are bound, "
            "their memory policy is not: call bind_local_rank() earlier",
            RuntimeWarning,
            stacklevel=2,
        )
    try:
        request = Request(read, local_rank=local_rank, local_world_size=local_world_size)
        applied = place_here(request, os.environ, threads=True)
    except NumaAlignError as error:
        if read.strict:
            raise
        warnings.warn(f"numa_align: {error}; nothing is bound", RuntimeWarning, stacklevel=2)
        return None
    if applied.remarks and read.strict:
        raise BindError("; ".join(applied.remarks))
    for remark in applied.remarks:
        warnings.warn(f"numa_align: {remark}", RuntimeWarning, stacklevel=2)
    placed = applied.decision.placement
    gpus = tuple(applied.topology.gpus[gpu].bdf for gpu in placed.gpus)
    return Binding(applied.state, placed.cpus, placed.memory_nodes, gpus)


def worker_init(worker_id: int) -> None:
    """Keep a DataLoader worker on the CPUs and memory of its process: pass it as ``worker_init_fn``.

    A forked worker inherits both; one that a fork server starts has what the server had, which was
    started before anything was bound. Outside a placed process nothing happens.
    """
    del worker_id  # all workers share the slice: the kernel balances them better than a fixed deal
    try:
        cpus = parse_cpulist(os.environ.get("NUMA_ALIGN_CPUS", ""))
        nodes = parse_cpulist(os.environ.get("NUMA_ALIGN_MEMS", ""))
        mem = spec_of(None, os.environ).mem
    except (ValueError, SpecError):
        return
    try:
        if cpus:
            bind_threads(cpus)
        if nodes and mem == "preferred" and read_policy()[0] == "default":
            set_policy("preferred-many", nodes)
    except BindError as error:
        warnings.warn(f"numa_align: {error}", RuntimeWarning, stacklevel=2)
