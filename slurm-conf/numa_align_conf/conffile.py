"""Slurm's configuration files as lines of ``Key=value``, with the places where they stand.

Source: slurm.conf(5): "#" begins a comment, a backslash continues a line, keys are not case-sensitive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from numa_align.errors import ConfError

_SIZE_LIMIT = 16 << 20

_PAIR = re.compile(r'([A-Za-z][A-Za-z0-9_]*)\s*[+-]?=\s*("[^"]*"|\S*)\s*')
_COMMENT = re.compile(r"(?<!\\)#.*")

# The only keys of these files (gres.conf(5), cgroup.conf(5)); of slurm.conf there are hundreds.
_GRES_KEYS = frozenset(
    (
        *("nodename", "name", "type", "file", "cores", "cpus", "count", "links", "flags"),
        *("autodetect", "multiplefiles", "include"),
    )
)
_NOT_SLURM_KEYS = frozenset(("name", "autodetect", "constraincores", "constraindevices"))


@dataclass(frozen=True)
class Line:
    """A logical line: its pairs with keys in lower case; its physical lines are ``first`` to ``end`` - 1."""

    pairs: tuple[tuple[str, str], ...]
    first: int
    end: int

    @property
    def key(self) -> str:
        """The first key, which says what the line is about."""
        return self.pairs[0][0]

    def get(self, key: str) -> Optional[str]:
        """Value of a key in lower case, None if the line has none."""
        return dict(self.pairs).get(key)


@dataclass(frozen=True)
class ConfFile:
    """A file: where it is, its physical lines, its logical ones without blank ones and comments."""

    path: Path
    text: str
    lines: tuple[Line, ...]

    @property
    def physical(self) -> list[str]:
        """The lines of the text."""
        return self.text.splitlines()

    def value(self, key: str) -> Optional[str]:
        """Of a key that begins a line the last value; ``key`` in lower case."""
        return next((line.pairs[0][1] for line in reversed(self.lines) if line.key == key), None)

    def place(self, key: str) -> str:
        """``FILE:LINE`` of that value, the file alone if there is none."""
        line = next((line for line in reversed(self.lines) if line.key == key), None)
        return str(self.path) if line is None else f"{self.path}:{line.first + 1}"


def read_conf(path: Path, what: str) -> ConfFile:
    """The file at ``path``, which is to be a ``what``: slurm.conf, gres.conf or cgroup.conf.

    Raises ConfError with file and line for what is not. Included files are not followed.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_SIZE_LIMIT)
    except OSError as error:
        raise ConfError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfError(f"{path}:1: is not a {what}: it is not text") from None
    return parse_conf(text, path, what)


def parse_conf(text: str, path: Path, what: str) -> ConfFile:
    """See `read_conf`."""
    lines: list[Line] = []
    pending, first = "", 0
    physical = text.splitlines()
    for number, raw in enumerate(physical):
        line = _COMMENT.sub("", raw).rstrip()
        first = number if not pending else first
        pending += line
        if pending.endswith("\\") and number + 1 < len(physical):
            pending = pending[:-1] + " "
            continue
        if pending.strip():
            lines.append(Line(_pairs(pending.strip(), path, first, what), first, number + 1))
        pending = ""
    return ConfFile(path, text, tuple(lines))


def _pairs(text: str, path: Path, number: int, what: str) -> tuple[tuple[str, str], ...]:
    if text.split(maxsplit=1)[0].lower() == "include":
        return (("include", text.partition(" ")[2].strip()),)
    pairs: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            raise ConfError(f"{path}:{number + 1}: is not a line of {what}: {text[:60]!r}")
        pairs.append((match[1].lower(), match[2].strip('"')))
        position = match.end()
    keys = {key for key, _ in pairs}
    foreign = keys - _GRES_KEYS if what == "gres.conf" else {pairs[0][0]} & _NOT_SLURM_KEYS
    if foreign and what in ("gres.conf", "slurm.conf"):
        raise ConfError(f"{path}:{number + 1}: is not a {what}: it does not know {sorted(foreign)[0]!r}")
    return tuple(pairs)
