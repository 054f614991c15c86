"""`numa_align.bind_local_rank` and `numa_align.worker_init`: the binding from inside a Python program."""

from __future__ import annotations

import multiprocessing
import operator
import os
import warnings
from dataclasses import dataclass
from typing import Optional, SupportsIndex, Union

from ..errors import BindError, ClaimError, NumaAlignError, RequestError
from ..names import State
from ..placement.decide import ProcessRequest
from .affinity import bind_threads, read_policy, set_policy
from .apply import place_here, spec_of, thread_count
from .state import Policy, parse_numa_maps_line

#: The types of a rank: a number of Python's or numpy's, or the text of a variable.
Number = Union[SupportsIndex, str]


@dataclass(frozen=True)
class Binding:
    """What a process got: ``state`` (one of four words), CPUs and memory nodes, PCI addresses of its GPUs."""

    state: State
    cpus: tuple[int, ...]
    memory_nodes: tuple[int, ...]
    gpus: tuple[str, ...]


def bind_local_rank(
    local_rank: Optional[Number] = None,
    local_world_size: Optional[Number] = None,
    spec: Optional[str] = None,
) -> Optional[Binding]:
    """Bind this process to its part of the task's CPUs and memory.

    Call it first of all, before CUDA, torch or numpy start threads and touch memory. The worker is
    LOCAL_RANK of LOCAL_WORLD_SIZE, or its launcher's equivalents (`LAUNCHERS` in
    `placement.launcher`), unless given here; without either the process is the task itself.
    A process that is already placed, by ``numa-align run`` or by a parent, keeps what it has.
    ``spec`` has the words of ``srun --numa-align=``. Fails open: a failure is a `RuntimeWarning` and
    the program runs on; None is returned if nothing could be decided.
    With ``strict`` among the words, a process that is not aligned gets NumaAlignError instead.
    """
    try:
        read, warning = spec_of(spec, os.environ)
    except ClaimError as error:  # not compiled for this Python
        _warn(f"{error}; nothing is bound")
        return None
    if warning:
        _warn(warning)
    if not read.on:
        return None
    threads = thread_count()
    if threads > 1:
        _warn(
            f"{threads} threads are running already; their CPUs are bound, "
            "their memory policy is not: call bind_local_rank() earlier"
        )
    try:
        rank, count = _to_int("local_rank", local_rank), _to_int("local_world_size", local_world_size)
        request = ProcessRequest(read, None, rank, count, insists=spec is not None)
        applied = place_here(request, os.environ, threads=True)
    except NumaAlignError as error:
        if read.strict:
            raise
        _warn(f"{error}; nothing is bound")
        return None
    if applied.objections and read.strict:
        raise BindError("; ".join(applied.objections))
    for remark in (*applied.remarks, *applied.hints):
        _warn(remark)
    placed = applied.decision.placement
    gpus = tuple(applied.topology.gpus[gpu].bdf for gpu in placed.gpus)
    return Binding(applied.state, placed.cpus, placed.memory_nodes, gpus)


def _warn(text: str) -> None:
    """Warn from a function that a program calls; the warning names the program's line."""
    warnings.warn(f"numa_align: {text}", RuntimeWarning, stacklevel=3)


def _to_int(name: str, value: Optional[Number]) -> Optional[int]:
    """Raises RequestError for anything but a number."""
    try:
        return None if value is None else int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        raise RequestError(f"{name} is {str(value)[:40]!r} and should be a number") from None


def worker_init(worker_id: int) -> None:
    """Keep a DataLoader worker on the CPUs and memory of its process: pass it as ``worker_init_fn``.

    A forked or spawned worker inherits both; one that a fork server starts has what the server had, which
    may have started before anything was bound, with the environment of that time. So the parent is asked.
    """
    del worker_id  # all workers share the slice: the kernel balances them better than fixed parts
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return
    try:
        cpus = os.sched_getaffinity(parent.pid)
    except OSError:
        return  # it has ended
    try:
        if not os.sched_getaffinity(0) <= cpus:
            bind_threads(cpus)
        policy = _policy_of(parent.pid)
        if policy.mode != "default" and read_policy()[0] == "default":
            set_policy(policy.mode, policy.nodes)
    except BindError as error:
        _warn(str(error))


def _policy_of(pid: int) -> Policy:
    """The memory policy of a process; default if the kernel does not show it.

    Reads only the first line of numa_maps, the program's text: the kernel counts the pages of what is read.
    """
    try:
        with open(f"/proc/{pid}/numa_maps", encoding="utf-8") as file:  # noqa: PTH123 - one line of it
            return parse_numa_maps_line(file.readline().rstrip("\n")).policy
    except (OSError, ValueError):
        return Policy("default")
