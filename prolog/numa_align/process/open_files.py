"""The files that processes have open, by the names that /proc gives them (proc_pid_fd(5))."""

from __future__ import annotations

import os
from itertools import islice

#: How many descriptors of a process are read, the lowest first: libraries open devices when they start, and
#: a server may have a million sockets.
MAX_FILES = 16384


class OpenFiles:
    """Reads the descriptors of each requested process once."""

    def __init__(self, proc: str = "/proc") -> None:
        """``proc`` is the folder to take for /proc."""
        self._proc = proc
        self._known: dict[int, frozenset[str]] = {}

    def of(self, pid: int) -> frozenset[str]:
        """Paths of a process's open files; empty if it has ended or they are hidden."""
        if pid not in self._known:
            self._known[pid] = self._read(pid)
        return self._known[pid]

    def _read(self, pid: int) -> frozenset[str]:
        paths = set()
        try:
            with os.scandir(f"{self._proc}/{pid}/fd") as entries:
                for entry in islice(entries, MAX_FILES):
                    try:
                        path = os.readlink(entry.path)  # noqa: PTH115 - hundreds of files a process
                    except OSError:
                        continue
                    if path.startswith("/"):  # not a socket or a pipe
                        paths.add(path)
        except OSError:
            pass
        return frozenset(paths)
