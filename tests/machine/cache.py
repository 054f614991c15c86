"""A folder of files that take long to make, shared by all runs on this host.

An entry is named after a hash of all that went into it, is made in a scratch folder under a lock, and appears
by one rename: a run that is killed leaves no half-made entry, and two runs at once make an entry once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

CACHE_VARIABLE = "NUMA_ALIGN_CACHE"


def default_folder() -> Path:
    """$NUMA_ALIGN_CACHE, or the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "numa-align"


def digest(*parts: str) -> str:
    """A short hash of texts, each kept apart from the next."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode()
        total.update(f"{len(data)}:".encode())
        total.update(data)
    return total.hexdigest()[:16]


class Cache:
    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else default_folder()

    def entry(self, kind: str, key: str, make: Callable[[Path], None], keep: int = 1) -> Path:
        """The folder `<kind>-<key>`, made by `make(scratch folder)` if it is not there yet.

        Making an entry removes the oldest ones of its kind beyond `keep`, since nothing asks for an old hash
        again.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / f"{kind}-{key}"
        with self._locked(kind):
            if not target.is_dir():
                scratch = self.folder / f".{kind}.making"
                remove_tree(scratch)
                scratch.mkdir()
                make(scratch)
                scratch.rename(target)
                self._remove_old(kind, target, keep)
            os.utime(target)
        return target

    def _remove_old(self, kind: str, newest: Path, keep: int) -> None:
        others = [path for path in self.folder.glob(f"{kind}-*") if path != newest and path.is_dir()]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[max(0, keep - 1) :]:
            remove_tree(path)

    @contextlib.contextmanager
    def _locked(self, kind: str) -> Iterator[None]:
        with (self.folder / f".{kind}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def remove_tree(path: Path) -> None:
    """Remove a folder, but do not follow a mount that a killed build may have left in a root file system."""
    subprocess.run(["rm", "-rf", "--one-file-system", str(path)], check=True, timeout=300)
