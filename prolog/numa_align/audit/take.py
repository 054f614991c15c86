"""Takes a sample of this node: reads /proc, sysfs and NVML once, traces nothing and wakes no GPU.

The memory of a process is counted from its numa_maps, for which the kernel walks its page tables with
mmap_lock held for reading (fs/proc/task_mmu.c). This costs time in proportion to resident memory, so a
sample has a budget: processes are examined in the order of their size, smallest first, until the budget
is spent. Of the others only CPUs and policy are reported, from the first lines of numa_maps.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

from ..cpulist import format_cpulist
from ..errors import KernelError
from ..placement.claim import local_cpus
from ..process.held_nics import HeldNics, held_nics
from ..process.jobs import JobProcess, processes_of_jobs
from ..process.node_memory import read_nodes_memory
from ..process.of_job import gpu_holders, told_gpus
from ..process.open_files import OpenFiles
from ..process.state import ProcessState, read_environment, read_process
from ..process.verdict import Places, Verdict, judge
from ..slurm_env import rank_of
from ..sysfs import read_text, to_number
from ..topology.model import Gpu, Topology
from .cause import cause_of
from .model import Sample, TaskSample, worst
from .rehearsal import gpus_rehearsed, rehearsed

#: MiB of resident memory that one sample examines. Walking a page table takes about 10 ns per page.
MEMORY_BUDGET_MIB = 32768


class _Seen(NamedTuple):
    process: JobProcess
    gpus: tuple[Gpu, ...]
    environment: Mapping[str, str]
    state: ProcessState
    verdict: Verdict
    whole: bool
    nics: HeldNics


def take_sample(topology: Topology, budget_mib: int = MEMORY_BUDGET_MIB) -> Sample:
    """What runs on this node now."""
    processes = processes_of_jobs()
    files = OpenFiles()
    holders = gpu_holders([process.pid for process in processes], topology, files)
    seen, hidden = _look(processes, holders, topology, budget_mib << 20, files)
    tasks: dict[tuple[int, str, Optional[int]], list[_Seen]] = {}
    for one in seen:
        key = (one.process.job, one.process.step, rank_of(one.environment))
        tasks.setdefault(key, []).append(one)
    return Sample(
        os.uname().nodename.partition(".")[0],
        time.time(),
        len(topology.gpus),
        tuple(_task(key, tasks[key], topology) for key in sorted(tasks, key=_order)),
        _idle_near_cores(processes, [gpu for one in seen for gpu in one.gpus], topology),
        hidden,
    )


def _order(key: tuple[int, str, Optional[int]]) -> tuple[int, str, int]:
    job, step, task = key
    return job, step, -1 if task is None else task


def _look(
    processes: Sequence[JobProcess],
    holders: Mapping[int, tuple[Gpu, ...]],
    topology: Topology,
    budget: int,
    files: OpenFiles,
) -> tuple[list[_Seen], int]:
    """The processes that have GPUs, and how many processes could not be examined."""
    seen, hidden, places = [], 0, Places(topology)
    for size, process in sorted((_resident(process.pid), process) for process in processes):
        try:
            environment = read_environment(process.pid)
        except KernelError:
            environment = {}
        gpus = holders.get(process.pid) or _told(environment, topology)
        if not gpus:
            hidden += not environment
            continue
        whole = size <= budget
        budget -= size if whole else 0
        try:
            state = read_process(process.pid, memory=whole)
        except KernelError:
            hidden += 1
            continue
        verdict = judge(state, gpus, topology, read_nodes_memory, places)
        nics = held_nics(files.of(process.pid), gpus, topology)
        seen.append(_Seen(process, gpus, environment, state, verdict, whole, nics))
    return seen, hidden


def _told(environment: Mapping[str, str], topology: Topology) -> tuple[Gpu, ...]:
    return told_gpus(environment, topology) or gpus_rehearsed(environment, topology)


def _resident(pid: int) -> int:
    """Bytes of resident memory (proc_pid_statm(5)); 0 if the process has ended."""
    fields = (read_text(f"/proc/{pid}/statm") or "").split()
    pages = to_number(fields[1]) if len(fields) > 1 else None
    return (pages or 0) * os.sysconf("SC_PAGE_SIZE")


def _task(key: tuple[int, str, Optional[int]], seen: Sequence[_Seen], topology: Topology) -> TaskSample:
    """One row: a task is placed as well as the worst of its processes."""
    job, step, task = key
    state = worst([one.verdict.state for one in seen])
    shown = next(one for one in seen if one.verdict.state == state)
    gpus = {gpu.bdf for one in seen for gpu in one.gpus}
    would, would_cpus = (rehearsed(shown.environment) or (None, None))[:2]
    held = [card for one in seen for card in one.nics.cards]
    cause = None
    if state != "aligned":
        cause = cause_of(shown.environment, shown.state.cpus, shown.gpus, topology)
    return TaskSample(
        job,
        step,
        task,
        _name(shown.process.uid),
        tuple(gpu.bdf for gpu in topology.gpus if gpu.bdf in gpus),
        format_cpulist({cpu for one in seen for cpu in one.state.cpus}),
        str(shown.state.policy),
        sum(one.verdict.bytes for one in seen),
        sum(one.verdict.near_bytes for one in seen),
        state,
        cause,
        shown.verdict.reason,
        len(seen),
        shown.environment.get("SLURM_JOB_PARTITION"),
        not all(one.whole for one in seen),
        would,
        would_cpus,
        nics=tuple(dict.fromkeys(str(card.nic.name) for card in held)),
        near_nics=tuple(dict.fromkeys(str(card.nic.name) for card in held if card.near)),
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _idle_near_cores(processes: Sequence[JobProcess], gpus: Sequence[Gpu], topology: Topology) -> int:
    """The number of cores near the GPUs in use on which no process of a job may run."""
    taken: set[int] = set()
    for process in processes:
        try:
            taken |= os.sched_getaffinity(process.pid)
        except OSError:
            continue  # ended in the meantime
    local = local_cpus(topology, gpus)
    return sum(1 for core in topology.cores if local.issuperset(core.cpus) and taken.isdisjoint(core.cpus))
