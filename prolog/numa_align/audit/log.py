"""Samples over time: one JSON object per line, appended by a single writer, rotated by size."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import AuditError
from .model import Sample, from_json, to_json

#: A log that has reached this size is renamed to NAME.1, replacing the previous one.
ROTATE_BYTES = 64 << 20


def append(path: Path, sample: Sample) -> None:
    """Add a sample; a second writer is refused. Raises AuditError."""
    line = json.dumps(to_json(sample), separators=(",", ":")) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(line)
            file.flush()
            if os.fstat(file.fileno()).st_size >= ROTATE_BYTES:
                path.replace(path.with_name(f"{path.name}.1"))
    except BlockingIOError as error:
        raise AuditError(f"{path}: another numa-align audit writes to it") from error
    except OSError as error:
        raise AuditError(f"{path}: cannot be written: {error.strerror}") from error


def read_logs(paths: Iterable[Path]) -> Iterator[Sample]:
    """The samples in logs, in their rotated parts and in folders of such files. Raises AuditError.

    The last line of a log may be half written if the node lost power: it is skipped.
    """
    for path in paths:
        parts = sorted(path.glob("*.json*")) if path.is_dir() else [path.with_name(f"{path.name}.1"), path]
        for part in parts:
            if part.exists() or part == path:
                yield from _read(part)


def _read(path: Path) -> Iterator[Sample]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines(keepends=True)
    except OSError as error:
        raise AuditError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except ValueError as error:
            if number == len(lines) and not line.endswith("\n"):
                return
            raise AuditError(f"{path}:{number}: is not JSON: {error}") from error
        yield from_json(data, f"{path}:{number}")
