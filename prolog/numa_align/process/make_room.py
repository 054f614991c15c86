"""Makes room on NUMA nodes: lets the kernel drop clean page cache there. Stdlib only.

Linux 6.17 and later have nodeN/reclaim, which root may write, with swappiness=0 for file cache only.
Elsewhere, memory that is bound to the node is taken and given back. That is not done if there is swap, since
the kernel might then swap out memory of others. Both run in a child per node, which is abandoned when the
time is over, and which asks the kernel to be killed before any other process.

Sources: Documentation/ABI/stable/sysfs-devices-node, mm/vmscan.c (user_proactive_reclaim),
memfd_create(2), fallocate(2), proc_pid_oom_score_adj(5).
"""

from __future__ import annotations

import os
import time

from ..errors import BindError
from ..light_typing import TYPE_CHECKING, NamedTuple
from ..sysfs import RECLAIM, Tree, fields, to_number
from .node_memory import NodeMemory, read_node_memory
from .room import LIMIT, Made, is_room, next_slice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import NoReturn, Optional

_POLL = 0.002
_SIGKILL = 9  # the module of this name takes as long to load as all of this
_GRACE = 0.1  # seconds that a killed child has to end
_NO_LIMIT = 1 << 60  # cgroup v1 shows a number of this size; v2 shows max

#: Exit statuses of a child.
_DONE, _REFUSED, _NOTHING_LEFT, _LIMIT_REACHED = 0, 3, 4, 5
_REASONS = {
    _REFUSED: "the kernel refused",
    _NOTHING_LEFT: "no more clean page cache there",
    _LIMIT_REACHED: "this process is too close to the memory limit of its cgroup",
}
_SWAP = "not done on a node with swap before Linux 6.17"


def make_room(wanted: Mapping[int, int], limit: float = LIMIT) -> tuple[Made, ...]:
    """Make this many bytes free on each node, or as many as possible within ``limit`` seconds.

    Nodes that have enough are not in the result. Raises nothing, and waits no longer than that.
    """
    tree, start = Tree("/"), time.monotonic()
    short: dict[int, NodeMemory] = {}
    for node, size in wanted.items():
        memory = read_node_memory(node, tree)
        if memory is not None and not is_room(memory, size) and next_slice(memory, size):
            short[node] = memory
    if not short:
        return ()
    headroom = memory_headroom(tree)
    children = {}
    reasons: dict[int, Optional[str]] = {}
    for node in short:
        by_file = tree.may_write(RECLAIM.format(node))
        if not by_file and _has_swap(tree):
            reasons[node] = _SWAP
            continue
        children[_fork(node, wanted[node], start + limit * 0.9, headroom, by_file=by_file)] = node
    reasons.update(_wait(children, start + limit))
    milliseconds = round(1000 * (time.monotonic() - start))
    return tuple(
        Made(memory, read_node_memory(node, tree) or memory, wanted[node], milliseconds, reasons.get(node))
        for node, memory in short.items()
    )


def _has_swap(tree: Tree) -> bool:
    return len((tree.text("proc/swaps") or "").splitlines()) > 1


def _wait(children: Mapping[int, int], deadline: float) -> dict[int, Optional[str]]:
    """Wait until all have ended or the time is over; the rest are killed and not waited for."""
    left, reasons = dict(children), {}
    while left and time.monotonic() < deadline:
        for pid in tuple(left):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                killed = "the kernel killed the helper: too little memory" if code < 0 else None
                reasons[left.pop(pid)] = killed or _REASONS.get(code)
        time.sleep(_POLL)
    for pid, node in left.items():
        os.kill(pid, _SIGKILL)
        reasons[node] = "the time was up"
    while left and time.monotonic() < deadline + _GRACE:
        left = {pid: node for pid, node in left.items() if not os.waitpid(pid, os.WNOHANG)[0]}
        time.sleep(_POLL)
    return reasons


def _fork(node: int, wanted: int, deadline: float, headroom: Optional[int], *, by_file: bool) -> int:
    """Start a child that makes room on one node; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = _REFUSED
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write("1000")
        status = _reclaim(node, wanted, deadline) if by_file else _take(node, wanted, deadline, headroom)
    except (OSError, ValueError, BindError):
        pass
    finally:
        _end(status)
    raise AssertionError("not reached")


def _end(status: int) -> NoReturn:
    """Exit without the parent's own cleanup: atexit, buffers."""
    os._exit(status)


def _reclaim(node: int, wanted: int, deadline: float) -> int:
    """Use the node's own file, one slice at a time."""
    descriptor = os.open(Tree("/").path(RECLAIM.format(node)), os.O_WRONLY | os.O_CLOEXEC)
    while time.monotonic() < deadline:
        memory = read_node_memory(node)
        if memory is None or is_room(memory, wanted):
            return _DONE
        size = next_slice(memory, wanted)
        if not size:
            return _NOTHING_LEFT
        try:
            os.write(descriptor, f"{size} swappiness=0".encode("ascii"))
        except BlockingIOError:  # EAGAIN: less than that was dropped
            after = read_node_memory(node)
            if after is None or after.free - memory.free < size // 8:
                return _NOTHING_LEFT
    return _DONE


def _take(node: int, wanted: int, deadline: float, headroom: Optional[int]) -> int:
    """Take memory that is bound to the node: the kernel drops cache for it, and our exit gives it back."""
    # Imported here, as ctypes takes longer to load than the usual check takes.
    from .affinity import set_policy  # noqa: PLC0415
    from .take import Taken  # noqa: PLC0415

    if not hasattr(os, "memfd_create") or set_policy("bind", (node,)) != "bind":
        return _REFUSED
    taken = Taken()
    while time.monotonic() < deadline:
        memory = read_node_memory(node)
        if memory is None or memory.free + taken.size >= wanted:
            return _DONE
        size = next_slice(memory, wanted, taken.size)
        if headroom is not None and size > headroom - taken.size:
            return _LIMIT_REACHED
        if not size:
            return _NOTHING_LEFT
        taken.take(size)
    return _DONE


# -- The memory limit of this process ---------------------------------------------------------------


def memory_headroom(tree: Optional[Tree] = None) -> Optional[int]:
    """Bytes that this process's cgroups let it have in addition; None without a limit.

    Page cache that is charged to them and not in use counts as free, as it is dropped first.
    """
    machine = tree or Tree("/")
    rooms = [room for room in (_room_in(machine, group) for group in _groups(machine)) if room is not None]
    return max(0, min(rooms)) if rooms else None


class _Group(NamedTuple):
    """A cgroup's folder, and the names of its limit, of its usage and of its cache in memory.stat."""

    folder: str
    limit: str
    used: str
    cache: str


def _groups(tree: Tree) -> Iterator[_Group]:
    """This process's cgroups and those around them, of v2 and of v1."""
    for line in (tree.text("proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            mount, names = "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts), 0, -1):
            yield _Group("/".join((mount, *parts[:depth])), *names)


def _room_in(tree: Tree, group: _Group) -> Optional[int]:
    limit = tree.number(f"{group.folder}/{group.limit}")
    used = tree.number(f"{group.folder}/{group.used}")
    if limit is None or used is None or limit >= _NO_LIMIT:
        return None
    lines = (tree.text(f"{group.folder}/memory.stat") or "").replace(" ", ": ")
    return limit - used + (to_number(fields(lines).get(group.cache)) or 0)
