"""How the tasks of a step find each other on a node, without MPI: a folder that they share.

Each task leaves one small file there; the task with local id 0 waits for as many as there are tasks, adds
them up and takes the folder away. A folder in /dev/shm serves one node, one on a shared file system
all nodes of the step. The folder belongs to the user alone and is never followed through a link.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..errors import RequestError
from ..slurm_env import place_of, to_number

#: Seconds that the counting task waits for the others; they started when it did.
PATIENCE = 60.0

_STATES = ("aligned", "partial", "memory-only", "unaligned")


@dataclass(frozen=True)
class Meeting:
    """Where the tasks of a step meet: ``rank`` of ``tasks``, rank 0 counts."""

    folder: Path
    rank: int
    tasks: int


@dataclass(frozen=True)
class Total:
    """How many of ``tasks`` answered, by state."""

    tasks: int
    states: Mapping[str, int]

    def __str__(self) -> str:
        """``7 of 8 tasks aligned, 1 partial``."""
        parts = [f"{self.states.get('aligned', 0)} of {self.tasks} tasks aligned"]
        parts += [f"{self.states[state]} {state}" for state in _STATES[1:] if self.states.get(state)]
        silent = self.tasks - sum(self.states.values())
        return ", ".join(parts + ([f"{silent} without an answer"] if silent else []))


def meeting_of(environment: Mapping[str, str], shared: Optional[Path] = None) -> Optional[Meeting]:
    """Where this task meets the others of its step, None if it is alone or no task of a step.

    ``shared`` is a folder that all nodes of the step see; without it the tasks of each node meet.
    """
    job, step = environment.get("SLURM_JOB_ID", ""), environment.get("SLURM_STEP_ID", "")
    local = to_number(environment.get("SLURM_LOCALID"))
    rank, count = to_number(environment.get("SLURM_PROCID")), to_number(environment.get("SLURM_NTASKS"))
    if not (job.isdigit() and step.isdigit()) or local is None:
        return None
    name = f"numa-align-check.{os.getuid()}.{job}.{step}"
    if shared is not None:
        if rank is None or count is None:
            return None
        return Meeting(shared / name, rank, count)
    tasks = place_of(environment).tasks
    return Meeting(Path("/dev/shm") / name, local, tasks) if tasks > 1 else None


def leave(meeting: Meeting, state: str) -> None:
    """Leave this task's word. Raises RequestError if the folder cannot be used."""
    try:
        meeting.folder.mkdir(mode=0o700, exist_ok=True)
        found = meeting.folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise RequestError(f"{meeting.folder} is not this user's own folder; the tasks are not counted")
        new = meeting.folder / f".{meeting.rank}"
        new.write_text(state, encoding="ascii")
        new.rename(meeting.folder / str(meeting.rank))
    except OSError as error:
        raise RequestError(
            f"the tasks cannot be counted in {meeting.folder}: {error.strerror}; --gather names another"
        ) from error


def count(meeting: Meeting, patience: float = PATIENCE) -> Total:
    """Wait for the others and add up; a task that does not answer in time is left out."""
    limit = time.monotonic() + patience
    while True:
        words = _words(meeting)
        if len(words) >= meeting.tasks or time.monotonic() > limit:
            break
        time.sleep(0.05)
    shutil.rmtree(meeting.folder, ignore_errors=True)
    return Total(meeting.tasks, Counter(words))


def _words(meeting: Meeting) -> list[str]:
    words = []
    for rank in range(meeting.tasks):
        try:
            word = (meeting.folder / str(rank)).read_text(encoding="ascii")
        except (OSError, ValueError):
            continue
        words.append(word if word in _STATES else "unaligned")
    return words
