"""How the tasks of a step on a node find each other without MPI: through a folder that they share.

A step may count several times, in rounds of one count each. In each round every task writes a small file; the
task with local id 0 waits for as many files as there are tasks, adds them up and closes the round. A task
that comes later is in the next round, so a state is counted only in the round for which it was written. A
folder in /dev/shm serves one node, one on a shared file system all nodes of the step. Only the user can
write to it, and it is never reached through a link. It stays until the step has ended, and a later step's
count removes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..errors import RequestError
from ..names import STATES, State
from ..slurm_env import place_of, to_number
from .jobs import steps_here

#: Seconds that the counting task waits for the others, which started at the same time.
PATIENCE = 60.0

#: If no task has written for this many seconds, the folder belongs to a dead step, on whichever node it ran.
FORGOTTEN = 24 * 3600.0

#: Holds the number of the last closed round; renamed into place.
_CLOSED = "closed"

_NAME = re.compile(r"numa-align-check\.(?P<uid>\d+)\.(?P<job>\d+)\.(?P<step>\d+)(?:\.\d+)?", re.ASCII)


@dataclass(frozen=True)
class Meeting:
    """Where the tasks of a step meet: ``rank`` of ``tasks``, rank 0 counts; ``nodes``: those of all nodes."""

    folder: Path
    rank: int
    tasks: int
    nodes: bool = False


@dataclass(frozen=True)
class Total:
    """How many of ``tasks`` answered, by state."""

    tasks: int
    states: Mapping[str, int]

    def __str__(self) -> str:
        """``7 of 8 tasks aligned, 1 partial``."""
        parts = [f"{self.states.get('aligned', 0)} of {self.tasks} tasks aligned"]
        parts += [f"{self.states[state]} {state}" for state in STATES[1:] if self.states.get(state)]
        silent = self.tasks - sum(self.states.values())
        return ", ".join(parts + ([f"{silent} without an answer"] if silent else []))


def meeting_of(environment: Mapping[str, str], shared: Optional[Path] = None) -> Optional[Meeting]:
    """Where this task meets the others of its step; None if it is alone or not a task of a step.

    ``shared`` is a folder that all nodes of the step see; without it the tasks of each node meet.
    """
    job, step = environment.get("SLURM_JOB_ID", ""), environment.get("SLURM_STEP_ID", "")
    local = to_number(environment.get("SLURM_LOCALID"))
    rank, count = to_number(environment.get("SLURM_PROCID")), to_number(environment.get("SLURM_NTASKS"))
    if not all(text.isascii() and text.isdigit() for text in (job, step)) or local is None:
        return None
    # A requeued job has the same numbers, and its first run may have been interrupted within a round.
    restart = to_number(environment.get("SLURM_RESTART_COUNT"))
    name = f"numa-align-check.{os.getuid()}.{job}.{step}{f'.{restart}' if restart else ''}"
    if shared is not None:
        if rank is None or count is None:
            return None
        return Meeting(shared / name, rank, count, nodes=True)
    tasks = place_of(environment).tasks
    return Meeting(Path("/dev/shm") / name, local, tasks) if tasks > 1 else None


def leave(meeting: Meeting, state: State) -> int:
    """Write this task's state; returns the round. Raises RequestError if the folder cannot be used."""
    with _opened(meeting) as folder:
        number = _closed(folder) + 1
        while True:
            try:
                # If this task's file already exists, the others have yet to finish that round.
                word = os.open(
                    f"{number}.{meeting.rank}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder
                )
            except FileExistsError:
                number += 1
                continue
            with os.fdopen(word, "w", encoding="ascii") as file:
                file.write(state)
            return number


def count(meeting: Meeting, number: int, patience: float = PATIENCE) -> Total:
    """Wait for the others in this round, add up and close it; those not in time do not count."""
    limit = time.monotonic() + patience
    with _opened(meeting) as folder:
        missing, states = set(range(meeting.tasks)), Counter[str]()
        while True:
            for rank in sorted(missing):
                state = _read(folder, f"{number}.{rank}")
                if state in STATES:  # else missing, or not written completely
                    missing.remove(rank)
                    states[state] += 1
            if not missing or time.monotonic() > limit:
                break
            time.sleep(0.05)
        _close(folder, number)
    return Total(meeting.tasks, states)


def sweep(meeting: Meeting) -> None:
    """Remove what ended steps of this user left beside the folder of this step.

    A step of this node has its slurmstepd here. For steps of other nodes, and if /proc hides root's
    processes (proc(5), hidepid), only the time of the last write is known.
    """
    left = _left_beside(meeting.folder)
    if not left:
        return
    here = steps_here()  # read after the folders, so that a step that starts now has no folder among them
    sees = _step_of(meeting.folder.name) in here and not meeting.nodes
    limit = time.time() - (0 if sees else FORGOTTEN)
    for path, said in left.items():
        if _step_of(path.name) not in here and said < limit:
            shutil.rmtree(path, ignore_errors=True)


def _left_beside(folder: Path) -> dict[Path, float]:
    """This user's other folders in that place, and when each was last changed."""
    found = {}
    with contextlib.suppress(OSError), os.scandir(folder.parent) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                name = _NAME.fullmatch(entry.name)
                if name and int(name["uid"]) == os.getuid() and entry.name != folder.name:
                    status = entry.stat(follow_symlinks=False)
                    if _is_own_folder(status):
                        found[Path(entry.path)] = status.st_mtime
    return found


def _step_of(name: str) -> tuple[int, str]:
    found = _NAME.fullmatch(name)
    return (int(found["job"]), found["step"]) if found else (0, "")


@contextlib.contextmanager
def _opened(meeting: Meeting) -> Iterator[int]:
    """The folder as a descriptor: the checks stay valid whatever its name refers to later."""
    try:
        with contextlib.suppress(FileExistsError):
            meeting.folder.mkdir(mode=0o700)
        if not _is_own_folder(meeting.folder.lstat()):
            raise _foreign(meeting)
        folder = os.open(meeting.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise _cannot(meeting, error) from error
    try:
        if not _is_own_folder(os.fstat(folder)):
            raise _foreign(meeting)
        yield folder
    except OSError as error:
        raise _cannot(meeting, error) from error
    finally:
        os.close(folder)


def _foreign(meeting: Meeting) -> RequestError:
    return RequestError(
        f"{meeting.folder} is not this user's own folder: another user created it first, so the tasks are "
        "not counted; use --gather to name another folder"
    )


def _cannot(meeting: Meeting, error: OSError) -> RequestError:
    return RequestError(
        f"the tasks cannot be counted in {meeting.folder}: {error.strerror}; "
        "use --gather to name another folder"
    )


def _is_own_folder(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _closed(folder: int) -> int:
    return to_number(_read(folder, _CLOSED)) or 0


def _close(folder: int, number: int) -> None:
    """End a round: tasks that come from now on are in the next one, and files of earlier rounds are removed.

    Files of this round stay until the next one ends: a task that asked for the round's number just before it
    ended then finds that it has answered. Without them it would answer again, in a round that is over.
    """
    new = f".{_CLOSED}"
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=folder), "w") as file:
        file.write(str(number))
    os.rename(new, _CLOSED, src_dir_fd=folder, dst_dir_fd=folder)
    for name in os.listdir(folder):
        said_in = to_number(name.partition(".")[0])
        if said_in is not None and said_in < number:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)


def _read(folder: int, name: str) -> str:
    """The file's text; empty if there is no such file."""
    try:
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), encoding="ascii") as file:
            return file.read(64)
    except (OSError, ValueError):
        return ""
