"""``numa-align job --fix``: give one's own running processes the CPUs that they should have.

Each GPU that a process of the job uses has a share of the CPUs that the job may use, by the plugin's claim. A
process gets the shares of its GPUs, and so do its loaders, which have the same rank. The CPUs of any thread
can be changed at any time. A memory policy belongs to a thread and no other can set it, and pages stay where
they are unless they are moved (migrate_pages(2)).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ..cpulist import format_cpulist, parse_cpulist
from ..errors import BindError, KernelError
from ..placement.claim import ClaimMachine
from ..sysfs import read_text
from ..topology.model import Gpu, Topology
from .affinity import bind_process, move_pages
from .of_job import Seen
from .state import read_process, read_status


@dataclass(frozen=True)
class Moved:
    """The effect on its pages: bytes on near nodes before and after, pages that were left, seconds."""

    near_before: int
    near_after: int
    left: int
    seconds: float


@dataclass(frozen=True)
class Fixed:
    """One process: its CPUs before, and after as the kernel reports them; ``reason`` if it was left alone."""

    pid: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    reason: Optional[str] = None
    policy: Optional[str] = None
    moved: Optional[Moved] = None


def gpus_of(process: Seen, seen: Sequence[Seen]) -> tuple[Gpu, ...]:
    """The GPUs that it uses; for a loader, those of the processes of its task."""
    if process.gpus or process.rank is None:
        return process.gpus
    task = (other for other in seen if other.rank == process.rank)
    return tuple(dict.fromkeys(gpu for other in task for gpu in other.gpus))


def shares(seen: Sequence[Seen], topology: Topology, room: Iterable[int]) -> dict[str, tuple[int, ...]]:
    """The CPUs for each GPU that is used, by the GPU's address."""
    used = [gpu for gpu in topology.gpus if any(gpu in process.gpus for process in seen)]
    slices = ClaimMachine.of(topology).claim(room, [gpu.node for gpu in used])
    return {gpu.bdf: cpus for gpu, cpus in zip(used, slices)}


def room_of(seen: Sequence[Seen], online: Sequence[int], *, in_job: bool) -> frozenset[int]:
    """The CPUs that these processes may be given.

    The cpuset of each, if it has less than the machine. Without one: in a job, the CPUs that its processes
    have together, as others may be another job's; outside a job, all that are online.
    """
    room: set[int] = set()
    for process in seen:
        confined = cpuset_of(process.pid)
        if confined is not None and (not in_job or set(confined) < set(online)):
            room.update(confined)
        else:
            room.update(process.cpus if in_job else online)
    return frozenset(room)


def cpuset_of(pid: int, root: str = "/") -> Optional[tuple[int, ...]]:
    """The CPUs of the cgroup of a process, None if none gives them (cgroups(7))."""
    lines = (read_text(f"{root}/proc/{pid}/cgroup") or "").splitlines()
    for line in lines:
        number, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if number == "0" and not kinds:
            base, name = f"{root}/sys/fs/cgroup", "cpuset.cpus.effective"
        elif "cpuset" in kinds.split(","):
            base, name = f"{root}/sys/fs/cgroup/cpuset", "cpuset.effective_cpus"
        else:
            continue
        # A cgroup without the controller has the CPUs of the one around it.
        while True:
            text = read_text(f"{base}{path.rstrip('/')}/{name}")
            if text and text.strip():
                return parse_cpulist(text)
            if path in ("", "/"):
                break
            path = os.path.dirname(path)  # noqa: PTH120 - a path within the hierarchy
    return None


def fix(
    seen: Sequence[Seen], topology: Topology, room: Iterable[int], *, move: bool, uid: int
) -> tuple[Fixed, ...]:
    """Bind everything that can be bound; processes of other users are not touched."""
    of_gpu = shares(seen, topology, room)
    return tuple(_fix_one(process, gpus_of(process, seen), of_gpu, move=move, uid=uid) for process in seen)


def _fix_one(
    process: Seen, gpus: Sequence[Gpu], of_gpu: Mapping[str, tuple[int, ...]], *, move: bool, uid: int
) -> Fixed:
    wanted = tuple(sorted({cpu for gpu in gpus for cpu in of_gpu.get(gpu.bdf, ())}))
    reason = _objection(process, gpus, wanted, uid)
    if reason:
        return Fixed(process.pid, process.cpus, process.cpus, reason)
    failure = None
    try:
        bind_process(process.pid, wanted, process.cpus)
        after = read_status(f"/proc/{process.pid}").cpus
    except (BindError, KernelError) as error:
        after, failure = process.cpus, str(error)
    local = sorted({node for gpu in gpus for node in gpu.memory_nodes})
    moved = _move(process.pid, local) if move and not failure else None
    return Fixed(process.pid, process.cpus, after, failure, _policy(process, local), moved)


def _objection(process: Seen, gpus: Sequence[Gpu], wanted: Sequence[int], uid: int) -> Optional[str]:
    try:
        owner = os.stat(f"/proc/{process.pid}").st_uid  # noqa: PTH116 - stdlib without pathlib
    except OSError:
        return "it has ended"
    if owner != uid:
        return "it is another user's"
    if not gpus:
        return "it uses no GPU, so nothing tells where it should be"
    if not wanted:
        return "no CPU near its GPUs is left for it"
    return None


def _policy(process: Seen, local: Sequence[int]) -> Optional[str]:
    """The memory policy, which cannot be changed from outside, if it is not near the GPUs."""
    state = process.state
    if state is None or (state.policy.nodes and set(state.policy.nodes) <= set(local)):
        return None
    return (
        f"its memory policy stays {state.policy}: no other process can set it; new memory comes from "
        f"where it runs, now near nodes {format_cpulist(local)}"
    )


def _move(pid: int, local: Sequence[int]) -> Optional[Moved]:
    """Move pages from elsewhere to the nodes near its GPUs, which the process's owner may do."""
    try:
        before = read_process(pid).bytes_by_node
        away = sorted(set(before) - set(local))
        begin = time.perf_counter()
        left = move_pages(pid, away, local) if away and local else 0
        seconds = time.perf_counter() - begin
        after = read_process(pid).bytes_by_node
    except (BindError, KernelError):
        return None
    return Moved(_bytes_on(before, local), _bytes_on(after, local), left, seconds)


def _bytes_on(by_node: Mapping[int, int], local: Sequence[int]) -> int:
    return sum(size for node, size in by_node.items() if node in local)


def lines_of(fixed: Fixed) -> list[str]:
    """Lines that report it to a person."""
    if fixed.reason:
        return [f"{fixed.pid}: left as it is: {fixed.reason}"]
    change = f"CPUs {format_cpulist(fixed.before)} -> {format_cpulist(fixed.after)}"
    if fixed.before == fixed.after:
        change = f"CPUs {format_cpulist(fixed.after)}, as they should be"
    lines = [f"{fixed.pid}: {change}"]
    if fixed.policy:
        lines.append(f"{fixed.pid}: {fixed.policy}")
    if fixed.moved:
        moved = fixed.moved
        size = (moved.near_after - moved.near_before) >> 20
        lines.append(
            f"{fixed.pid}: {size} MiB moved to nodes near its GPUs in {moved.seconds:.2f} s; "
            f"{moved.left} pages stay"
        )
    return lines
