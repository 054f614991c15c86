"""The processes of a running job on this node, and what the kernel reports of them and their threads.

The job does not have to cooperate. What this user may not see is reported as hidden, not left out: only the
owner and root may see memory and policy (proc_pid_numa_maps(5)).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..errors import KernelError
from ..names import GPUS
from ..slurm_env import rank_of
from ..topology.gpu import nvml
from ..topology.model import Gpu, Topology
from .all_nodes import owner_of
from .held_nics import NO_NICS, HeldNics, held_nics
from .jobs import processes_of_jobs
from .node_memory import read_nodes_memory
from .open_files import OpenFiles
from .state import (
    ProcessState,
    Status,
    private_together,
    read_bytes,
    read_environment,
    read_process,
    read_status,
    shared_together,
)
from .undone import undone
from .verdict import Places, Verdict, judge

#: Bytes of a name that the kernel keeps (TASK_COMM_LEN without the final 0).
_KERNEL_NAME = 15


@dataclass(frozen=True)
class Thread:
    """One thread and its CPUs (Cpus_allowed_list)."""

    tid: int
    name: str
    cpus: tuple[int, ...]


@dataclass(frozen=True)
class Seen:
    """One process: what was seen of it, or in ``hidden`` why it could not be.

    ``gpus`` are those that it has open; if none is, those that the plugin gave it (NUMA_ALIGN_GPUS).
    ``distance`` is the largest SLIT distance from a node of its CPUs to the node of one of its GPUs, None
    without GPUs. ``rank`` is SLURM_PROCID. ``undone``: how it has changed the placement that it was given.
    ``nics`` are the network cards that it has open.
    """

    pid: int
    name: str
    rank: Optional[int]
    cpus: tuple[int, ...]
    cpu_nodes: tuple[int, ...]
    threads: tuple[Thread, ...]
    gpus: tuple[Gpu, ...]
    state: Optional[ProcessState]
    verdict: Optional[Verdict]
    distance: Optional[int]
    hidden: Optional[str]
    undone: Optional[str] = None
    nics: HeldNics = NO_NICS

    @property
    def strays(self) -> tuple[Thread, ...]:
        """Threads that may use CPUs which the process itself may not use."""
        others = (thread for thread in self.threads if thread.cpus != self.cpus)
        return tuple(thread for thread in others if not set(thread.cpus) <= set(self.cpus))


@dataclass(frozen=True)
class TaskMemory:
    """Memory of all processes of one task that could be seen, by node; shared memory counts once."""

    rank: int
    processes: int
    private_by_node: Mapping[int, int]
    shared_by_node: Mapping[int, int]


def memory_of_tasks(seen: Sequence[Seen]) -> tuple[TaskMemory, ...]:
    """For each task with several processes, such as those of a DataLoader."""
    states: dict[int, list[ProcessState]] = {}
    for process in seen:
        if process.rank is not None and process.state:
            states.setdefault(process.rank, []).append(process.state)
    return tuple(
        TaskMemory(rank, len(own), private_together(own), shared_together(own))
        for rank, own in sorted(states.items())
        if len(own) > 1
    )


def pids_of_job(job: int, proc: str = "/proc") -> tuple[int, ...]:
    """Processes of a Slurm job on this node, ascending, without Slurm's own and this one.

    If the kernel shows none, the owner's processes whose environment names the job: a shell of salloc, or
    processes outside the tree of a slurmstepd without cgroups. Anybody can set SLURM_JOB_ID there.
    """
    known = tuple(process.pid for process in processes_of_jobs(proc) if process.job == job)
    if known:
        return known
    import psutil  # noqa: PLC0415 - it takes as long to load as to look at fifty processes

    # Only root can read another user's environment, so that others see only their own processes anyway.
    owner = owner_of(job) if os.geteuid() == 0 else None
    uid = os.geteuid() if owner is None else owner
    return tuple(
        pid
        for pid in sorted(psutil.pids())
        if pid != os.getpid() and _uid_of(pid) == uid and _environment(pid).get("SLURM_JOB_ID") == str(job)
    )


def _uid_of(pid: int) -> Optional[int]:
    import psutil  # noqa: PLC0415

    try:
        return psutil.Process(pid).uids().effective
    except psutil.Error:
        return None


def _environment(pid: int) -> Mapping[str, str]:
    """The process's environment; empty if it is hidden or the process has ended."""
    try:
        return read_environment(pid)
    except KernelError:
        return {}


def look(
    pid: int,
    topology: Topology,
    holders: Mapping[int, Sequence[Gpu]],
    files: Optional[OpenFiles] = None,
    places: Optional[Places] = None,
) -> Optional[Seen]:
    """What can be seen of a process now, None if it has ended; ``holders`` are GPUs by process.

    ``places`` are those of the topology, for who looks at many processes.
    """
    places = places or Places(topology)
    try:
        status = read_status(f"/proc/{pid}")
    except KernelError:
        return None
    cpus = () if status.zombie else status.cpus
    environment = _environment(pid)
    gpus = tuple(holders.get(pid, ())) or told_gpus(environment, topology)
    state, verdict, hidden, lost = None, None, None, None
    if status.zombie:
        hidden = "a zombie: it has ended, its parent has not asked for its status"
    else:
        try:
            state = read_process(pid, status=status)
            verdict = judge(state, gpus, topology, read_nodes_memory, places)
            lost = undone(state, environment, verdict.local)
        except KernelError as error:
            if not os.path.exists(f"/proc/{pid}"):  # noqa: PTH110 - thousands of processes
                return None
            hidden = str(error)
    cpu_nodes = places.nodes_of(cpus)
    return Seen(
        pid, _whole_name(pid, status.name), rank_of(environment), cpus, cpu_nodes, threads_of(pid, status),
        gpus, state, verdict, _distance(cpu_nodes, gpus, topology), hidden, lost,
        held_nics((files or OpenFiles()).of(pid), gpus, topology),
    )  # fmt: skip


def told_gpus(environment: Mapping[str, str], topology: Topology) -> tuple[Gpu, ...]:
    """The GPUs that the plugin, or `numa-align run`, gave to a process with this environment."""
    names = environment.get(GPUS, "").split(",")
    return tuple(gpu for gpu in topology.gpus if gpu.bdf in names)


def _whole_name(pid: int, name: str) -> str:
    """The kernel keeps 15 bytes of a name; the command line has the rest of a longer one."""
    if len(name) < _KERNEL_NAME:
        return name
    try:
        return whole_name(name, read_bytes(f"/proc/{pid}/cmdline").decode("utf-8", "replace"))
    except OSError:
        return name


def whole_name(name: str, command: str) -> str:
    """The program of a command line (proc_pid_cmdline(5)) if it begins with ``name``, else ``name``.

    Programs that set their own title put blanks between the words of it, with or without a 0 at the end.
    """
    words = command.removesuffix("\0")
    program = words.partition("\0" if "\0" in words else " ")[0].rpartition("/")[2]
    return program if program.startswith(name) else name


def threads_of(pid: int, status: Optional[Status] = None, proc: str = "/proc") -> tuple[Thread, ...]:
    """The present threads of a process, by number; ``status`` is what was just read of the process.

    It is that of the first thread too, which has the process's number.
    """
    if status is not None and status.threads == 1:
        return (Thread(pid, status.name, status.cpus),)
    folder = f"{proc}/{pid}/task"
    threads = []
    try:
        numbers = sorted(map(int, os.listdir(folder)))  # noqa: PTH208 - thousands of processes
    except OSError:
        return ()
    for tid in numbers:
        try:
            own = status if status is not None and tid == pid else read_status(f"{folder}/{tid}")
        except KernelError:
            continue  # has ended in the meantime
        threads.append(Thread(tid, own.name, own.cpus))
    return tuple(threads)


def _distance(cpu_nodes: Sequence[int], gpus: Sequence[Gpu], topology: Topology) -> Optional[int]:
    if not gpus:
        return None
    order = {node.id: i for i, node in enumerate(topology.nodes)}
    pairs = [
        topology.distances[order[node]][order[gpu.node]]
        for node in cpu_nodes
        for gpu in gpus
        if gpu.node in order and gpu.node is not None
    ]
    return max(pairs) if pairs else None


# -- Who holds a GPU open --------------------------------------------------------------------


def gpu_holders(
    pids: Sequence[int], topology: Topology, files: Optional[OpenFiles] = None
) -> dict[int, tuple[Gpu, ...]]:
    """GPUs by process: from NVML, if the driver is loaded, and from open device files."""
    files = files or OpenFiles()
    holders: dict[int, set[str]] = {}
    for pid, bdf in _running(topology):
        holders.setdefault(pid, set()).add(bdf)
    computing = {pid: frozenset(held) for pid, held in holders.items()}
    devices = {gpu.device: gpu.bdf for gpu in topology.gpus if gpu.device}
    for pid in pids:
        if pid in computing:
            continue
        opened = {devices[path] for path in files.of(pid) if path in devices}
        if opened:
            # CUDA opens the files of all GPUs that it sees, and children that are forked later (DataLoader's
            # processes) keep them open: these use their parent's GPUs, else those that the plugin gave them.
            told = {gpu.bdf for gpu in told_gpus(_environment(pid), topology)}
            holders[pid] = opened & (_of_parents(pid, computing) or told) or opened
    return {pid: tuple(gpu for gpu in topology.gpus if gpu.bdf in held) for pid, held in holders.items()}


def _of_parents(pid: int, computing: Mapping[int, frozenset[str]]) -> frozenset[str]:
    """What the nearest ancestor that the driver lists computes on."""
    if not computing:
        return frozenset()
    import psutil  # noqa: PLC0415

    try:
        parents = [parent.pid for parent in psutil.Process(pid).parents()]
    except psutil.Error:
        return frozenset()
    return next((computing[parent] for parent in parents if parent in computing), frozenset())


def _running(topology: Topology) -> tuple[tuple[int, str], ...]:
    """(process, PCI address) of every context on NVIDIA GPUs; empty if there is no driver."""
    nvidia = [gpu.bdf for gpu in topology.gpus if gpu.vendor == "nvidia"]
    return nvml.running(nvidia) if nvidia and Path("/dev/nvidiactl").exists() else ()
