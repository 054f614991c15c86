"""The descendants of a process. Standard library only: psutil takes four times as long for the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import RequestError
from .state import read_bytes


class Birth(NamedTuple):
    """From whom a process is, and when it started, in the kernel's ticks since boot (proc_pid_stat(5))."""

    parent: int
    start: int


def with_children(pid: int, proc: str = "/proc") -> tuple[int, ...]:
    """A process and its descendants. Raises RequestError if it does not exist."""
    try:
        births = {pid: read_birth(pid, proc)}
    except (FileNotFoundError, ProcessLookupError):
        raise RequestError(f"there is no process {pid}") from None
    except (OSError, ValueError) as error:
        raise RequestError(f"process {pid} cannot be inspected: {error}") from error
    for other in map(int, filter(str.isdigit, os.listdir(proc))):  # noqa: PTH208 - thousands of names
        try:
            births.setdefault(other, read_birth(other, proc))
        except (OSError, ValueError):
            continue  # has ended in the meantime, or is hidden
    return (pid, *sorted(descendants(pid, births)))


def read_birth(pid: int, proc: str = "/proc") -> Birth:
    """Raises OSError if it has ended or is hidden, ValueError for text that is not understood."""
    # The name, in parentheses, may itself contain blanks and parentheses.
    fields = read_bytes(f"{proc}/{pid}/stat").rpartition(b")")[2].split()
    if len(fields) < 20:
        raise ValueError(f"{proc}/{pid}/stat is too short")
    return Birth(int(fields[1]), int(fields[19]))


def descendants(pid: int, births: Mapping[int, Birth]) -> set[int]:
    """Those below a process.

    Files are read one after the other, and a number may be given again in the meantime: what started before
    the process is not from it.
    """
    children: dict[int, list[int]] = {}
    for child, birth in births.items():
        children.setdefault(birth.parent, []).append(child)
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child != pid and child not in found and births[child].start >= births[pid].start:
                found.add(child)
                waiting.append(child)
    return found
