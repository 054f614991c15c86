"""The system calls that read and set CPU masks and memory policy. Stdlib only.

Python has sched_setaffinity(2) but not set_mempolicy(2), which is called through syscall(3) here, as not
every machine has libnuma. The numbers of the calls are the kernel's ABI and never change.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable

from ..cpulist import parse_cpulist
from ..errors import BindError
from ..names import MODES, PolicyMode
from ..placement.own import Own

#: set_mempolicy, get_mempolicy, migrate_pages (arch/*/entry/syscalls of the kernel).
_CALLS = {
    "x86_64": (238, 239, 256),
    "aarch64": (237, 236, 238),
    "ppc64le": (261, 260, 258),
    "riscv64": (237, 236, 238),
}

#: Exists only on kernels with NUMA.
_NODES = "/sys/devices/system/node"

_MAX_NODES = 8192
_MPOL_F_MEMS_ALLOWED = 4
_MODE_MASK = 0xFFF  # the bits above are the flags static, relative, numa-balancing


def read_own() -> Own:
    """Ask the kernel about the calling thread. Raises BindError."""
    mask = os.sched_getaffinity(0)
    try:
        # The kernel cuts the mask to the cpuset; it is restored at once.
        os.sched_setaffinity(0, range(_online_limit()))
        widest = os.sched_getaffinity(0)
        os.sched_setaffinity(0, mask)
    except OSError:
        widest = mask
    return Own(tuple(sorted(mask)), tuple(sorted(widest)), allowed_nodes())


def _online_limit() -> int:
    try:
        with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:  # noqa: PTH123
            return parse_cpulist(file.read())[-1] + 1
    except (OSError, ValueError, IndexError):
        return 1024


def bind_cpus(pid: int, cpus: Iterable[int]) -> None:
    """Bind a process (0: the calling thread), as a single thread, to CPUs. Raises BindError."""
    try:
        os.sched_setaffinity(pid, cpus)
    except (OSError, ValueError) as error:
        what = "this process" if pid == 0 else f"process {pid}"
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BindError(f"binding {what} to its CPUs failed: {reason}") from error


def bind_threads(cpus: Iterable[int]) -> int:
    """Bind every present thread of the calling process; returns how many there are."""
    wanted = tuple(cpus)
    bind_cpus(0, wanted)
    threads = [int(name) for name in os.listdir("/proc/self/task")]  # noqa: PTH208 - stdlib without pathlib
    for thread in threads:
        try:
            os.sched_setaffinity(thread, wanted)
        except ProcessLookupError:
            continue  # has ended since it was listed
        except OSError as error:
            raise BindError(f"binding thread {thread} to its CPUs failed: {error.strerror}") from error
    return len(threads)


def bind_process(pid: int, cpus: Iterable[int], before: Iterable[int]) -> int:
    """Bind the threads of another process to ``cpus``, unless they keep to a part of them; returns how many.

    Raises BindError. ``before`` are the CPUs that the process had: a thread with others has chosen its own.
    """
    wanted, had = set(cpus), set(before)
    bind_cpus(pid, wanted)
    bound = 1
    for name in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - stdlib without pathlib
        thread = int(name)
        try:
            mine = os.sched_getaffinity(thread)
            if thread == pid or (mine <= wanted and mine != had):
                continue
            os.sched_setaffinity(thread, wanted)
        except ProcessLookupError:
            continue  # has ended since it was listed
        except OSError as error:
            raise BindError(f"binding thread {thread} to its CPUs failed: {error.strerror}") from error
        bound += 1
    return bound


def _call(which: int, *arguments: object) -> int:
    """Make a system call; returns its result. Raises OSError."""
    machine = os.uname().machine
    if machine not in _CALLS:
        raise BindError(f"memory policies are not known to this program on {machine}")
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(ctypes.c_long(_CALLS[machine][which]), *arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _knows_no_policies(error: OSError) -> bool:
    """Whether the kernel has no NUMA (CONFIG_NUMA=n): there is one node, and no policy to set."""
    return error.errno == errno.ENOSYS and not os.path.isdir(_NODES)  # noqa: PTH112 - stdlib without pathlib


def _bits(nodes: Iterable[int]) -> ctypes.Array[ctypes.c_ubyte]:
    words = (ctypes.c_ubyte * (_MAX_NODES // 8))()
    for node in nodes:
        words[node // 8] |= 1 << node % 8
    return words


def _members(words: ctypes.Array[ctypes.c_ubyte]) -> tuple[int, ...]:
    bits = int.from_bytes(bytes(words), "little")
    return tuple(node for node in range(bits.bit_length()) if bits >> node & 1)


def allowed_nodes() -> tuple[int, ...]:
    """Mems_allowed of the calling thread; () if the kernel does not show it (in some containers)."""
    words = _bits(())
    try:
        _call(1, None, words, ctypes.c_ulong(_MAX_NODES), None, ctypes.c_ulong(_MPOL_F_MEMS_ALLOWED))
        return _members(words)
    except OSError:
        pass
    try:
        with open("/proc/self/status", encoding="utf-8") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("Mems_allowed_list:"):
                    return parse_cpulist(line.partition(":")[2])
    except (OSError, ValueError):
        pass
    return ()


def read_policy() -> tuple[PolicyMode, tuple[int, ...]]:
    """Mode (a name of set_mempolicy(2)) and nodes of the calling thread's policy. Raises BindError.

    ``default`` on a kernel without NUMA.
    """
    mode, words = ctypes.c_int(), _bits(())
    try:
        _call(1, ctypes.byref(mode), words, ctypes.c_ulong(_MAX_NODES), None, ctypes.c_ulong(0))
    except OSError as error:
        if _knows_no_policies(error):
            return "default", ()
        raise BindError(f"asking for the memory policy failed: {error.strerror}") from error
    number = mode.value & _MODE_MASK
    return (MODES[number] if number < len(MODES) else "unknown"), _members(words)


def set_policy(mode: PolicyMode, nodes: Iterable[int] = ()) -> PolicyMode:
    """Set the memory policy of the calling thread; returns the mode that was set.

    Kernels before 5.15 do not have preferred-many: it becomes preferred for one node and local for
    several. On a kernel without NUMA every mode becomes default. Raises BindError.
    """
    nodes = tuple(nodes)
    bare = mode in ("default", "local")
    words = None if bare else _bits(nodes)
    try:
        _call(0, ctypes.c_long(MODES.index(mode)), words, ctypes.c_ulong(0 if bare else _MAX_NODES))
    except OSError as error:
        if mode == "preferred-many" and error.errno == errno.EINVAL:
            return set_policy("preferred", nodes) if len(nodes) == 1 else set_policy("local")
        if _knows_no_policies(error):
            return "default"
        forbidden = error.errno == errno.EPERM
        hint = "; containers forbid it unless started with --cap-add SYS_NICE" if forbidden else ""
        raise BindError(f"setting the memory policy failed: {error.strerror}{hint}") from error
    return mode


def move_pages(pid: int, away: Iterable[int], to: Iterable[int]) -> int:
    """Move pages of a process (migrate_pages(2)); returns how many could not be moved. Raises BindError."""
    try:
        return _call(2, ctypes.c_int(pid), ctypes.c_ulong(_MAX_NODES), _bits(away), _bits(to))
    except OSError as error:
        raise BindError(f"moving pages of process {pid} failed: {error.strerror}") from error
