"""What the kernel reports about a process: CPUs, memory policy, where its pages are.

Whether a task counts as aligned is judged from this alone; the binding table is not used here.
Sources: proc_pid_status(5), proc_pid_numa_maps(5), set_mempolicy(2), cpuset(7).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, Optional

from ..cpulist import parse_cpulist
from ..errors import HiddenError, KernelError
from ..names import PolicyMode

#: What the kernel's mpol_to_str() prints for the names of set_mempolicy(2), which are used everywhere else.
_POLICIES: Mapping[str, PolicyMode] = {
    "default": "default",
    "prefer": "preferred",
    "prefer (many)": "preferred-many",
    "bind": "bind",
    "interleave": "interleave",
    "weighted interleave": "weighted-interleave",
    "local": "local",
}


#: Bytes of numa_maps that show the policy: the program comes first, and its mappings have the task's policy.
_FIRST_LINES = 4096


class Policy(NamedTuple):
    """A memory policy: ``mode`` by its name in set_mempolicy(2), and the nodes it names."""

    mode: PolicyMode
    nodes: tuple[int, ...] = ()

    def __str__(self) -> str:
        """Format it as the kernel does, with our names: ``preferred:0``."""
        return f"{self.mode}:{','.join(map(str, self.nodes))}" if self.nodes else self.mode


#: To whom a mapping's memory belongs. ``private``: to this process. ``shared``: to all processes that map it
#: (shared anonymous memory such as PyTorch's pinned buffers, /dev/shm, memfd, SysV, hugetlbfs). ``cache``:
#: page cache of a file, which is where the file's first reader was.
Kind = Literal["private", "shared", "cache"]

#: What follows ``file=`` for memory that the kernel keeps in files of its own (mm/shmem.c, ipc/shm.c,
#: mm/memfd.c, fs/hugetlbfs), and for the folder in which programs share memory (shm_overview(7)).
_SHARED_FILES = ("/dev/zero", "/dev/shm/", "/memfd:", "/SYSV", "/anon_hugepage", "/dev/hugepages/")


class MappedArea(NamedTuple):
    """One line of numa_maps: the start address, the policy, and the bytes present by node."""

    start: int
    policy: Policy
    bytes_by_node: Mapping[int, int]
    kind: Kind


#: Identifies shared memory across processes: device, inode and offset in it (proc_pid_maps(5)).
Piece = tuple[str, int, int]


@dataclass(frozen=True)
class ProcessState:
    """The present state of one process, from the kernel.

    ``cpus``: Cpus_allowed_list. ``mems``: Mems_allowed_list. ``policy``: the task's memory
    policy. ``private_by_node``: present memory of its own (heap, stacks, buffers) by NUMA node.
    ``shared``: memory that others may map too, piece by piece. Page cache of files is in neither.
    """

    pid: int
    cpus: tuple[int, ...]
    mems: tuple[int, ...]
    policy: Policy
    private_by_node: Mapping[int, int]
    shared: Mapping[Piece, Mapping[int, int]]

    @property
    def shared_by_node(self) -> dict[int, int]:
        """Its shared and pinned memory by node; a piece that is mapped twice counts once."""
        return _sum(self.shared.values())

    @property
    def bytes_by_node(self) -> dict[int, int]:
        """All its memory by node."""
        return _sum((self.private_by_node, self.shared_by_node))


def _sum(parts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    total: dict[int, int] = {}
    for part in parts:
        for node, present in part.items():
            total[node] = total.get(node, 0) + present
    return dict(sorted(total.items()))


def private_together(states: Iterable[ProcessState]) -> dict[int, int]:
    """Private memory of several processes by node."""
    return _sum(state.private_by_node for state in states)


def shared_together(states: Iterable[ProcessState]) -> dict[int, int]:
    """Shared memory of several processes by node; what more than one of them maps counts once.

    The kernel reports for each process the pages that it has touched itself, so the largest number counts.
    """
    pieces: dict[Piece, dict[int, int]] = {}
    for state in states:
        for piece, present in state.shared.items():
            known = pieces.setdefault(piece, {})
            if sum(present.values()) > sum(known.values()):
                pieces[piece] = dict(present)
    return _sum(pieces.values())


@lru_cache(maxsize=256)  # a process has thousands of mappings, and rarely more than one policy
def parse_policy(text: str) -> Policy:
    """A policy as numa_maps prints it: ``default``, ``bind:0-1``, ``prefer (many):0``, ``bind=static:1``.

    Raises ValueError for anything else.
    """
    name, _, nodes = text.partition(":")
    name = name.partition("=")[0]
    if name not in _POLICIES:
        raise ValueError(f"{text!r} is not a memory policy")
    return Policy(_POLICIES[name], parse_cpulist(nodes))


def parse_numa_maps_line(line: str) -> MappedArea:
    """Parse one line of numa_maps. Raises ValueError for any other text.

    Fields are separated by spaces, but ``prefer (many):0`` contains one too.
    """
    address, _, rest = line.partition(" ")
    return MappedArea(int(address, 16), *_parse_mapping(rest))


@lru_cache(maxsize=4096)  # processes of a task map the same files, so most lines repeat
def _parse_mapping(rest: str) -> tuple[Policy, Mapping[int, int], Kind]:
    """The part after the address: policy, bytes by node, kind."""
    if rest.startswith(("prefer (many)", "weighted interleave")):
        first, second, *fields = rest.split()
        policy = parse_policy(f"{first} {second}")
    else:
        first, *fields = rest.split()
        policy = parse_policy(first)
    size, anonymous, name = 4096, 0, ""
    pages: dict[int, int] = {}
    for field in fields:
        key, _, value = field.partition("=")
        if key.startswith("N") and key[1:].isdigit():
            pages[int(key[1:])] = int(value)
        elif key == "kernelpagesize_kB":
            size = int(value) * 1024
        elif key == "anon":
            anonymous = int(value)
        elif key == "file":
            name = value
    kind = _kind_of(name, all_anonymous=anonymous == sum(pages.values()), huge="huge" in fields)
    return policy, {node: count * size for node, count in pages.items()}, kind


def _kind_of(name: str, *, all_anonymous: bool, huge: bool) -> Kind:
    """Pages of a private mapping become the process's own when first written; ``anon`` counts these."""
    if not name or all_anonymous:
        return "private"
    return "shared" if huge or name.startswith(_SHARED_FILES) else "cache"


def most_common_policy(policies: Iterable[Policy]) -> Policy:
    """The task's policy: that of the mappings without one of their own, which are the great majority."""
    counts = Counter(policies)
    return counts.most_common(1)[0][0] if counts else Policy("default")


class Status(NamedTuple):
    """What /proc/PID/status reports of a process, or of a thread (proc_pid_status(5)).

    ``threads`` is how many the process has; 0 if the kernel does not say so.
    """

    name: str
    zombie: bool
    cpus: tuple[int, ...]
    mems: tuple[int, ...]
    threads: int = 0


def read_status(folder: str) -> Status:
    """Parse ``folder``/status. Raises KernelError if the process has ended or the text is not understood."""
    try:
        text = read_bytes(f"{folder}/status").decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        raise KernelError(f"there is no process {folder.rpartition('/')[2]}") from None
    except OSError as error:
        raise KernelError(f"cannot read {folder}/status: {error.strerror}") from error
    try:
        return parse_status(text)
    except ValueError as error:
        raise KernelError(f"{folder}/status is not understood: {error}") from error


def parse_status(text: str) -> Status:
    """Parse the text of a status file. Raises ValueError for a set of CPUs or nodes that is none."""
    lines = "\n" + text
    threads = _field(lines, "Threads")
    return Status(
        _field(lines, "Name") or "?",
        _field(lines, "State").startswith("Z"),
        known_list(_field(lines, "Cpus_allowed_list")),
        known_list(_field(lines, "Mems_allowed_list")),
        int(threads) if threads.isascii() and threads.isdigit() else 0,
    )


def _field(lines: str, name: str) -> str:
    """The value of a field, "" if there is none; the kernel writes a line break in a name as ``\\n``.

    Searched and not split into fields: of sixty lines five are needed, of each of thousands of processes.
    """
    start = lines.find(f"\n{name}:")
    if start < 0:
        return ""
    start += len(name) + 2
    end = lines.find("\n", start)
    return lines[start : end if end >= 0 else len(lines)].strip()


#: parse_cpulist, for the few lists that thousands of processes have.
known_list = lru_cache(maxsize=256)(parse_cpulist)

#: Bytes to ask for at once: what /proc returns of most files of a process. More would be cleared for nothing.
_PIECE = 8192


def read_bytes(path: str, size: int = -1) -> bytes:
    """A file of /proc, or what a single read of so many bytes returns.

    Python's own files ask the kernel four things more (fstat, ioctl, lseek), of thousands of processes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if size >= 0:
            return os.read(descriptor, size)
        pieces = []
        # Only an empty read is the end: the kernel returns whole lines, and not always as many as fit.
        while piece := os.read(descriptor, _PIECE):
            pieces.append(piece)
    finally:
        os.close(descriptor)
    return b"".join(pieces)


def _read(path: str, pid: int, size: int = -1) -> str:
    """A file of a process, or what a single read of so many bytes returns."""
    try:
        return read_bytes(path, size).decode("utf-8", "replace")
    except FileNotFoundError:
        raise KernelError(f"there is no process {pid}") from None
    except ProcessLookupError:
        raise KernelError(f"process {pid} ended while it was looked at") from None
    except PermissionError as error:
        raise HiddenError(
            f"the kernel does not show {path} to this user: {error.strerror}; ask as the owner of "
            "the process or as root"
        ) from None
    except OSError as error:
        raise KernelError(f"cannot read {path}: {error.strerror}") from error


def _folder(root: Path, pid: int) -> str:
    """The process's folder in /proc, as text: objects for paths take longer than most of its files."""
    return f"{os.fspath(root).rstrip('/')}/proc/{pid}"


def read_environment(pid: int, root: Path = Path("/")) -> Mapping[str, str]:
    """The environment that a process was started with (proc_pid_environ(5)).

    Raises KernelError if there is no such process, or (HiddenError) if this user may not see it.
    """
    try:
        return _variables(read_bytes(f"{_folder(root, pid)}/environ"))
    except (FileNotFoundError, ProcessLookupError):
        raise KernelError(f"there is no process {pid}") from None
    except PermissionError as error:
        raise HiddenError(
            f"the environment of process {pid} is not shown to this user: {error.strerror}; ask as the "
            "owner of the process or as root"
        ) from error
    except OSError as error:
        raise KernelError(f"cannot read the environment of process {pid}: {error.strerror}") from error


@lru_cache(maxsize=32)  # children have their parent's; few, as one may have megabytes
def _variables(data: bytes) -> Mapping[str, str]:
    entries = data.decode(errors="surrogateescape").split("\0")
    pairs = (entry.partition("=") for entry in entries)
    return MappingProxyType({name: value for name, _, value in pairs if name})


def _without_nodes(folder: str) -> bool:
    """Whether a process has no numa_maps because the kernel was built without NUMA."""
    return not (Path(folder).parent / "self/numa_maps").exists() and Path(folder, "status").exists()


def _read_maps(folder: str, pid: int, whole: bool) -> str:
    """numa_maps, or only its first lines; empty on a kernel without NUMA, which has no such file."""
    try:
        # The kernel returns as many mappings as fit, in the order of their addresses.
        text = _read(f"{folder}/numa_maps", pid, -1 if whole else _FIRST_LINES)
    except KernelError:
        if _without_nodes(folder):
            return ""
        raise
    return text[: text.rfind("\n") + 1]


def read_process(
    pid: int, root: Path = Path("/"), *, memory: bool = True, status: Optional[Status] = None
) -> ProcessState:
    """Ask the kernel about a process. Raises KernelError if there is no such process, or it is hidden.

    Without ``memory`` its pages are not counted, which takes long for a big process, and ``bytes_by_node``
    is empty. ``status`` is what was just read of it.
    """
    folder = _folder(root, pid)
    status = status or read_status(folder)
    if status.zombie:
        raise KernelError(f"process {pid} is a zombie: it has ended, and has neither memory nor a policy")
    try:
        policies, private, shared = _sort(_read_maps(folder, pid, memory))
    except ValueError as error:
        raise KernelError(f"{folder}/numa_maps has a line that is not understood: {error}") from error
    policy = most_common_policy(policies)
    if not memory:
        return ProcessState(pid, status.cpus, status.mems, policy, {}, {})
    return ProcessState(pid, status.cpus, status.mems, policy, _sum(private), _pieces(shared, folder, pid))


def _sort(maps: str) -> tuple[list[Policy], list[Mapping[int, int]], list[MappedArea]]:
    """The policies of all mappings of numa_maps, the pages of the private ones, and the shared
    ones; without those that have no page.

    No object for each mapping: a node's processes have hundreds of thousands of them.
    """
    policies, private, shared = [], [], []
    for line in maps.splitlines():
        address, _, rest = line.partition(" ")
        policy, present, kind = _parse_mapping(rest)
        policies.append(policy)
        if not present:
            continue
        if kind == "private":
            private.append(present)
        elif kind == "shared":
            shared.append(MappedArea(int(address, 16), policy, present, kind))
    return policies, private, shared


def _pieces(areas: Sequence[MappedArea], folder: str, pid: int) -> dict[Piece, Mapping[int, int]]:
    """Shared areas by the piece of memory that they map; if unmapped in the meantime, by address only."""
    if not areas:
        return {}
    pieces: dict[Piece, Mapping[int, int]] = {}
    known = parse_maps(_read(f"{folder}/maps", pid))
    for area in areas:
        piece = known.get(area.start, (f"process {pid}", area.start, 0))
        if sum(area.bytes_by_node.values()) > sum(pieces.get(piece, {}).values()):
            pieces[piece] = area.bytes_by_node
    return pieces


def parse_maps(text: str) -> dict[int, Piece]:
    """The piece that each mapping of a file shows, by address (proc_pid_maps(5))."""
    found: dict[int, Piece] = {}
    for line in text.splitlines():
        words = line.split(maxsplit=5)
        if len(words) < 5 or words[4] == "0":
            continue
        try:
            start = int(words[0].partition("-")[0], 16)
            found[start] = (words[3], int(words[4]), int(words[2], 16))
        except ValueError:
            continue
    return found
