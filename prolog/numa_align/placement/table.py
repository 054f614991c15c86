"""The binding table, which the job prolog leaves below /run/numa-align for the plugin.

The format is described in spank/placement/table.h, whose reader is its only other user. A table serves
one job on one node; it holds the whole machine, because the plugin claims cores for all GPUs of
a step, and because advice may name what lies outside the step.
"""

from __future__ import annotations

import os

from ..cpulist import format_cpulist
from ..errors import TableError
from ..light_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Optional

    from ..sysfs import AnyPath
    from ..topology.model import Gpu, Topology

VERSION = 1
#: What a table begins with, before its version.
FIRST_WORD = "numa-align-table"
#: NA_MAX_SMT, NA_MAX_GPUS and NA_MAX_NICS of spank/placement/machine.h.
MAX_SMT = 16
MAX_GPUS = 256
MAX_NICS = 64
#: One file per job, named by the job's id. /run is tmpfs everywhere, so tables do not survive a reboot.
DIRECTORY = "/run/numa-align"

#: A table's modification time is when its job ends at the latest (write_table). This much later, and without
#: a slurmstepd of the job on the node, the table is left over from an epilog that never ran.
STALE_SECONDS = 24 * 3600


def _field(value: object) -> str:
    """One field: ``-`` if unknown; blanks would separate fields."""
    text = "-" if value is None or value == "" else str(value)
    if len(text.split()) != 1 or not text.isprintable() or not text.isascii():
        raise TableError(f"{text!r} cannot stand in a binding table")
    return text


def _rdev(device: Optional[str]) -> str:
    """MAJOR:MINOR of a device file, by which the plugin checks that it still is the same device."""
    if device is None:
        return "-"
    try:
        number = os.stat(device).st_rdev  # noqa: PTH116 - pathlib costs the prolog its import
    except OSError:
        return "-"
    return f"{os.major(number)}:{os.minor(number)}"


def _gpu(gpu: Gpu, job_gpus: Optional[Collection[int]]) -> str:
    in_job = "-"
    if job_gpus is not None and gpu.index is not None:
        in_job = "yes" if gpu.index in job_gpus else "no"
    fields = (
        gpu.vendor, gpu.bdf, gpu.minor, gpu.index, gpu.node, gpu.source,
        format_cpulist(gpu.memory_nodes), in_job, _rdev(gpu.device), gpu.device, gpu.uuid,
    )  # fmt: skip
    return "gpu " + " ".join(_field(value) for value in fields)


def _nics(topology: Topology) -> Iterator[str]:
    """The cards among which tasks choose: none without a GPU, as there is nothing to be near to."""
    cards = [nic for nic in topology.nics if nic.is_choosable] if topology.gpus else []
    for nic in cards[:MAX_NICS]:
        port = min(nic.ports, default=None)
        fields = (nic.name, nic.kind, port, nic.bdf, nic.node, nic.device, ",".join(nic.paths))
        yield "note nic " + " ".join(_field(value) for value in fields)


def _lines(
    topology: Topology, job: int, boot: str, job_gpus: Optional[Collection[int]], note: str
) -> Iterator[str]:
    yield f"{FIRST_WORD} {VERSION}"
    yield f"boot {_field(boot)}"
    yield f"job {job}"
    for node, distances in zip(topology.nodes, topology.distances):
        row = ",".join(str(min(distance, 255)) for distance in distances)
        yield f"node {node.id} {node.kind} {node.memory_bytes} {_field(format_cpulist(node.cpus))} {row}"
    for core in topology.cores:
        package = core.package if core.package >= 0 else None
        yield f"core {format_cpulist(core.cpus)} {_field(core.node)} {_field(package)} {core.llc}"
    for gpu in topology.gpus:
        yield _gpu(gpu, job_gpus)
    yield from _nics(topology)
    if note:
        yield "note " + "".join(c if " " <= c <= "~" else "?" for c in note)[:150]


def _check_bounds(topology: Topology) -> None:
    """Report what the plugin would refuse to slurmd's log, rather than to every user as a wrong line."""
    threads = max((len(core.cpus) for core in topology.cores), default=0)
    if threads > MAX_SMT:
        raise TableError(f"a core has {threads} hardware threads; the plugin knows of at most {MAX_SMT}")
    if len(topology.gpus) > MAX_GPUS:
        raise TableError(f"this node has {len(topology.gpus)} GPUs; the plugin knows of at most {MAX_GPUS}")


def format_table(
    topology: Topology,
    job: int,
    *,
    boot: str = "",
    job_gpus: Optional[Collection[int]] = None,
    note: str = "",
) -> str:
    """The table of one job as text.

    ``job_gpus`` are the job's GPUs as Slurm's gres indexes (SLURM_JOB_GPUS), None if not known.
    Raises TableError if a name in the topology cannot be written, or if the plugin would refuse the table.
    """
    _check_bounds(topology)
    lines = list(_lines(topology, job, boot, job_gpus, note))
    return "\n".join([*lines, f"end {len(lines)}", ""])


def _open_directory(directory: AnyPath) -> int:
    """Open the folder, create it if needed, and check that only root can write there."""
    path = os.fspath(directory)
    made = True
    try:
        os.mkdir(path, 0o755)  # noqa: PTH102
    except FileExistsError:
        made = False
    except OSError as error:
        raise TableError(f"cannot make the folder {path}: {error.strerror}") from error
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise TableError(f"cannot open the folder {path}: {error.strerror}") from error
    if made:
        os.fchmod(folder, 0o755)  # regardless of slurmd's umask: the plugin reads as the job's user
    status = os.fstat(folder)
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        os.close(folder)
        raise TableError(
            f"{path} can be written by users other than root "
            f"(owner {status.st_uid}, mode {status.st_mode & 0o7777:o})"
        )
    return folder


def write_table(text: str, job: int, directory: AnyPath = DIRECTORY, *, until: Optional[float] = None) -> str:
    """Put a table in place atomically (rename), readable by everybody; replaces an older one.

    ``until`` is when the job ends at the latest, for `hooks.prolog.sweep`.
    Raises TableError with what failed, and leaves nothing behind then.
    """
    folder = _open_directory(directory)
    name, temporary = str(job), f".{job}.new"
    try:
        _remove(temporary, folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(temporary, flags, 0o644, dir_fd=folder)
        try:
            os.fchmod(file, 0o644)  # regardless of slurmd's umask
            data = text.encode("ascii")
            while data:
                data = data[os.write(file, data) :]
            if until is not None:
                os.utime(file, (until, until))
        finally:
            os.close(file)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        _remove(temporary, folder)
        raise TableError(f"cannot write {os.fspath(directory)}/{name}: {error.strerror}") from error
    finally:
        os.close(folder)
    return f"{os.fspath(directory)}/{name}"


def _remove(name: str, folder: int) -> None:
    try:  # noqa: SIM105 - contextlib costs the prolog an import
        os.unlink(name, dir_fd=folder)
    except OSError:
        # The file is gone, or the file system forbids removal: the caller's next step fails then.
        pass


def remove_table(job: int, directory: AnyPath = DIRECTORY) -> None:
    """Remove a job's table; a missing one is not an error."""
    try:
        folder = _open_directory(directory)
    except TableError:
        return
    _remove(str(job), folder)
    _remove(f".{job}.new", folder)
    os.close(folder)
