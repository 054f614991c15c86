"""Which processes of this node belong to which job and step, for all jobs at once.

The cgroup tells where there is one: ``…/job_N/step_S/…`` up to Slurm 25.11 and with CgroupJobIdPaths,
else ``…/SLUID/step_S/…``, where the step's own slurmstepd is in the same cgroup and has the job's
number in its title. Without cgroups (proctrack/linuxproc), a job's processes are the descendants of its
slurmstepd. Users can give a process any name and any environment, and those with their own systemd can
make cgroups of any name below theirs: so only processes of root count as a slurmstepd, no cgroup below
user.slice counts as Slurm's, and environments are not used.

Reads two small files per process of the node and starts nothing.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple, Optional

from ..sysfs import read_text

_PLACE = re.compile(r"/(?:job_(\d+)|(s[0-9A-Z]{8,}))/step_(\w+)")
#: slurmstepd's own title (proctitle in src/slurmd/slurmstepd): JOB.STEP in brackets.
_TITLE = re.compile(r"slurmstepd: \[(\d+)\.(\w+)")
#: Longer than any line of these files; /proc/PID/cgroup has one line per v1 hierarchy.
_LIMIT = 16384


class JobProcess(NamedTuple):
    """One process of a job, with its owner; ``step`` is a number, ``batch``, ``extern``, ``interactive``."""

    pid: int
    job: int
    step: str
    uid: int


class _Raw(NamedTuple):
    pid: int
    parent: int
    uid: int
    place: Optional[re.Match[str]]
    daemon: Optional[tuple[int, str]]


def processes_of_jobs(proc: str = "/proc") -> tuple[JobProcess, ...]:
    """The processes of all jobs on this node, ascending, without Slurm's own and without this one."""
    found = {raw.pid: raw for raw in (_read(proc, entry) for entry in _numbers(proc)) if raw}
    sluids = {
        raw.place[2]: raw.daemon[0]
        for raw in found.values()
        if raw.daemon and raw.place is not None and raw.place[2]
    }
    jobs = []
    for raw in found.values():
        owner = None if raw.daemon else _by_cgroup(raw, sluids) or _by_ancestor(raw, found)
        # The extern step has a sleep of slurmstepd's own, which root owns too, beside adopted logins.
        own_sleep = owner is not None and owner[1] == "extern" and _is_daemon(found.get(raw.parent))
        if owner is not None and not own_sleep and raw.pid != os.getpid():
            jobs.append(JobProcess(raw.pid, owner[0], owner[1], raw.uid))
    return tuple(sorted(jobs))


def jobs_with_steps(proc: str = "/proc") -> frozenset[int]:
    """The jobs with a slurmstepd on this node: those that have not ended here."""
    return frozenset(job for job, _ in steps_here(proc))


def steps_here(proc: str = "/proc") -> frozenset[tuple[int, str]]:
    """The steps with a slurmstepd on this node; none if /proc hides root's processes (proc(5), hidepid)."""
    raws = (_read(proc, entry) for entry in _numbers(proc))
    return frozenset(raw.daemon for raw in raws if raw and raw.daemon and raw.daemon[0])


def _numbers(proc: str) -> list[int]:
    try:
        return [int(name) for name in os.listdir(proc) if name.isdigit()]  # noqa: PTH208 - thousands of names
    except OSError:
        return []


def _read(proc: str, pid: int) -> Optional[_Raw]:
    """None for a process that has ended, and for kernel threads."""
    folder = f"{proc}/{pid}"
    try:
        uid = os.stat(folder).st_uid  # noqa: PTH116
    except OSError:
        return None
    stat = read_text(f"{folder}/stat", _LIMIT)
    if stat is None:
        return None
    # The name, in parentheses, may itself contain blanks and parentheses.
    name = stat.partition("(")[2].rpartition(")")[0]
    fields = stat.rpartition(")")[2].split()
    parent = int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0
    place = _place(read_text(f"{folder}/cgroup", _LIMIT) or "")
    daemon = None
    if uid == 0 and name == "slurmstepd":
        title = _TITLE.match(read_text(f"{folder}/cmdline", _LIMIT) or "")
        daemon = (int(title[1]), title[2]) if title else (0, "")
    return _Raw(pid, parent, uid, place, daemon)


def _place(cgroups: str) -> Optional[re.Match[str]]:
    """The first line that names a step; there is one line per v1 hierarchy (cgroups(7))."""
    found = (_PLACE.search(line) for line in cgroups.splitlines() if "/user.slice/" not in line)
    return next((place for place in found if place), None)


def _is_daemon(raw: Optional[_Raw]) -> bool:
    return raw is not None and raw.daemon is not None


def _by_cgroup(raw: _Raw, sluids: dict[str, int]) -> Optional[tuple[int, str]]:
    if raw.place is None:
        return None
    job = int(raw.place[1]) if raw.place[1] else sluids.get(raw.place[2])
    return None if job is None else (job, raw.place[3])


def _by_ancestor(raw: _Raw, found: dict[int, _Raw]) -> Optional[tuple[int, str]]:
    """The job of the nearest slurmstepd above; a loop, as files are read at different times, ends it."""
    seen = {raw.pid}
    parent = raw.parent
    while parent in found and parent not in seen:
        above = found[parent]
        if above.daemon is not None:
            return above.daemon if above.daemon[0] else None
        seen.add(parent)
        parent = above.parent
    return None
