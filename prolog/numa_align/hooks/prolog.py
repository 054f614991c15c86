"""The job prolog and epilog: a table for every job on every node, and its removal.

slurmd runs them as root, once per job and node. Every failure ends as one line in the
system log; the exit status is always 0, because a failing prolog or epilog drains the node
(prolog_epilog guide, "Failure Handling"). The scripts around this module add a time limit.
"""

from __future__ import annotations

import os
import sys
import time

from ..cpulist import parse_cpulist
from ..errors import NumaAlignError
from ..light_typing import TYPE_CHECKING
from ..placement.table import DIRECTORY, STALE_SECONDS, format_table, remove_table, write_table
from ..sysfs import RECLAIM, Tree, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Optional

    from ..sysfs import AnyPath
    from ..topology.model import Topology

#: Facility daemon, severities warning and info (syslog(3)).
_WARNING, _INFO = 3 << 3 | 4, 3 << 3 | 6

#: How long a job is assumed to run, in seconds, if Slurm does not say.
_MONTH = 31 * 24 * 3600.0
#: The most digits of a number of seconds that a file's time can hold: the year 5138.
_LONGEST_TIME = 11
#: The site's settings for the prolog, below the root; most sites have none.
_CONF = "etc/numa-align/prolog.conf"


def _log(message: str, *, wrong: bool = True) -> None:
    """Write one line to stderr, and to the system log if that accepts it at once.

    syslog(3) is not used, as it blocks while nobody reads /dev/log.
    """
    import socket  # noqa: PLC0415 - only when there is something to say

    line = f"<{_WARNING if wrong else _INFO}>numa-align[{os.getpid()}]: {message}".encode("utf-8", "replace")
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        try:
            with socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as log:
                log.connect("/dev/log")
                log.send(line)
            break
        except OSError:
            continue  # no log, a full queue, or a socket of the other type
    try:  # noqa: SIM105 - contextlib costs the prolog an import
        print(f"numa-align: {message}", file=sys.stderr)
    except (OSError, ValueError):
        pass


def _job_id(environment: Mapping[str, str]) -> int:
    text = environment.get("SLURM_JOB_ID", "")
    if not text.isascii() or not text.isdigit():
        raise NumaAlignError(f"SLURM_JOB_ID is {text!r}: only slurmd should run this, as Prolog= or Epilog=")
    return int(text)


def _job_gpus(environment: Mapping[str, str]) -> Optional[tuple[int, ...]]:
    """The job's GPUs on this node as gres indexes; None if Slurm does not say, or in an unknown format."""
    text = environment.get("SLURM_JOB_GPUS")
    if not text:
        return None
    try:
        return parse_cpulist(text)
    except ValueError:
        return None


def _job_end(environment: Mapping[str, str], now: float) -> float:
    """When the job's time limit ends it, as Slurm 24.11 says; 22.05 does not: then a month from now."""
    text = environment.get("SLURM_JOB_END_TIME", "")
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_TIME):
        return now + _MONTH
    return max(now, float(text))


def _boot_id() -> str:
    return read_text("/proc/sys/kernel/random/boot_id") or ""


def read_node(environment: Mapping[str, str], root: AnyPath = "/") -> Topology:
    """Read this node. A wrong override file or gres.conf becomes a warning and is otherwise ignored."""
    from ..topology.read import read_here  # noqa: PLC0415 - the epilog does without

    return read_here(environment, root=root)


def write_job_table(
    environment: Mapping[str, str],
    root: AnyPath = "/",
    directory: AnyPath = DIRECTORY,
    topology: Optional[Topology] = None,
) -> list[str]:
    """Find this node's GPUs and write the job's table; returns warnings for the log."""
    job = _job_id(environment)
    warnings = []
    topology = topology or read_node(environment, root)
    job_gpus = _job_gpus(environment)
    note = ""
    if job_gpus and not topology.gpus:
        note = "no GPU was found in /proc/driver/nvidia or /sys/bus/pci"
        warnings.append(f"job {job} has GPUs but {note}; its steps cannot be aligned")
    text = format_table(topology, job, boot=_boot_id(), job_gpus=job_gpus, note=note)
    write_table(text, job, directory, until=_job_end(environment, time.time()))
    return [*warnings, *topology.warnings]


def sweep(directory: AnyPath = DIRECTORY, now: Optional[float] = None) -> list[int]:
    """Remove tables that no epilog removed; returns the ids of their jobs.

    A job between two steps has no process here unless PrologFlags has Contain. Its table is kept until the
    end of its time limit, so Slurm need not be asked: on large clusters epilogs that ask overload slurmctld.
    """
    limit = (time.time() if now is None else now) - STALE_SECONDS
    try:
        old = [e.name for e in os.scandir(directory) if e.stat(follow_symlinks=False).st_mtime < limit]
    except OSError:
        return []
    candidates = {name.lstrip(".").partition(".")[0] for name in old}
    stale = sorted(int(name) for name in candidates if name.isdigit())
    if stale:
        from ..process.jobs import jobs_with_steps  # noqa: PLC0415 - hardly ever

        running = jobs_with_steps()
        stale = [job for job in stale if job not in running]
    for job in stale:
        remove_table(job, directory)
    return stale


def prolog(root: AnyPath = "/", directory: AnyPath = DIRECTORY) -> None:
    """Entry point of numa-align-prolog."""
    try:
        topology = read_node(os.environ, root)
        for warning in write_job_table(os.environ, root, directory, topology):
            _log(warning)
    except Exception as error:
        # Whatever fails, the job starts unaligned, and the plugin tells its user why.
        _log(f"prolog: no table written: {error}")
        return
    try:
        for line in make_job_room(os.environ, topology, root):
            _log(line, wrong=False)
    except Exception as error:
        _log(f"prolog: no room made: {error}")


def make_job_room(environment: Mapping[str, str], topology: Topology, root: AnyPath = "/") -> tuple[str, ...]:
    """Make room for a job on the nodes of its GPUs; returns lines for the log.

    If the site says nothing, then only where the kernel does it by itself: that is fast, and kills nothing.
    """
    job_gpus, tree = _job_gpus(environment), Tree(root)
    if not job_gpus:
        return ()
    by_site = tree.exists(_CONF)
    by_kernel = all(tree.may_write(RECLAIM.format(node.id)) for node in topology.nodes)
    if not (by_site or by_kernel):
        return ()
    # Each job waits for these modules, so only where they are needed.
    from ..process.make_room import make_room  # noqa: PLC0415
    from ..process.room import AUTO, OFF, wanted_by_node  # noqa: PLC0415

    room = AUTO if by_kernel else OFF
    if by_site:
        from .prolog_conf import read_prolog_conf  # noqa: PLC0415

        room = read_prolog_conf(tree.path(_CONF)).room or room
    if not room.on:
        return ()
    gpus = [number for number, gpu in enumerate(topology.gpus) if gpu.index in job_gpus]
    made = make_room(wanted_by_node(topology, gpus, room))
    return tuple(f"job {_job_id(environment)}: {one.line}" for one in made)


def epilog(directory: AnyPath = DIRECTORY) -> None:
    """Entry point of numa-align-epilog."""
    try:
        remove_table(_job_id(os.environ), directory)
        sweep(directory)
    except Exception as error:
        _log(f"epilog: {error}")
