"""Slurm's configuration files as lines of ``Key=value``, with the places where they stand.

Source: slurm.conf(5): "#" begins a comment, a backslash continues a line, keys are not case-sensitive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..errors import ConfError

_SIZE_LIMIT = 16 << 20

_PAIR = re.compile(r'([A-Za-z][A-Za-z0-9_]*)\s*[+-]?=\s*("[^"]*"|\S*)\s*')
_COMMENT = re.compile(r"(?<!\\)#.*")

#: The only keys of gres.conf (gres.conf(5); UUID= from 26.11 on); of slurm.conf there are hundreds.
GRES_KEYS = frozenset(
    (
        *("nodename", "name", "type", "file", "cores", "cpus", "count", "links", "flags"),
        *("autodetect", "multiplefiles", "include", "uuid"),
    )
)
# Slurm takes a plural for the singular and the other way round (_gres_options in src/interfaces/gres.c).
_GRES_ALIASES = {"files": "file", "link": "links"}

# No text has these; Slurm would take them for part of a value.
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f\x7f]")

# What a line of slurm.conf begins with; gres.conf has none of these.
_SLURM_KEYS = frozenset(
    (
        "clustername",
        "slurmctldhost",
        "controlmachine",
        "partitionname",
        "selecttype",
        "plugindir",
        "slurmuser",
    )
)
_NOT_SLURM_KEYS = frozenset(("name", "autodetect", "constraincores", "constraindevices"))


# Slurm itself has no limit: a file that includes itself ends it.
_MAX_DEPTH = 8


@dataclass(frozen=True)
class Line:
    """A logical line of a file: pairs with keys in lower case; it is lines ``first`` to ``end`` - 1."""

    pairs: tuple[tuple[str, str], ...]
    path: Path
    first: int
    end: int

    @property
    def key(self) -> str:
        """The first key, which says what the line is about."""
        return self.pairs[0][0]

    @property
    def place(self) -> str:
        """``FILE:LINE``."""
        return f"{self.path}:{self.first + 1}"

    def get(self, key: str) -> Optional[str]:
        """Value of a key in lower case, None if the line has none."""
        return dict(self.pairs).get(key)


@dataclass(frozen=True)
class ConfFile:
    """A file and what it includes.

    ``lines`` are the logical ones without blank ones and comments, those of included files in the place where
    Slurm reads them; ``included`` are these files, and what they include.
    """

    path: Path
    text: str
    lines: tuple[Line, ...]
    included: tuple[ConfFile, ...] = ()

    @property
    def files(self) -> tuple[ConfFile, ...]:
        """This file, then the included ones, each once."""
        return tuple({file.path: file for file in (self, *self.included)}.values())

    def value(self, key: str) -> Optional[str]:
        """Of a key that begins a line the last value; ``key`` in lower case."""
        return next((line.pairs[0][1] for line in reversed(self.lines) if line.key == key), None)

    def place(self, key: str) -> str:
        """``FILE:LINE`` of that value, the file alone if there is none."""
        return next((line.place for line in reversed(self.lines) if line.key == key), str(self.path))


def read_conf(path: Path, what: str, root: str = "/") -> ConfFile:
    """The file at ``path``, a ``what`` (slurm.conf, gres.conf or cgroup.conf), and what it includes.

    Absolute paths of included files are below ``root``. Raises ConfError with file and line for what is not,
    and for an included file that is not there, with which no Slurm command starts.
    """
    return parse_conf(_text(path, what), path, what, root)


def _text(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_LIMIT)
    except OSError as error:
        raise ConfError(f"{path}: cannot be read: {error.strerror}") from error
    control = _CONTROL.search(data)
    if control is not None:
        line = data[: control.start()].count(b"\n") + 1
        raise ConfError(f"{path}:{line}: is not a {what}: it is not text")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # Slurm reads bytes: a comment in another encoding does not matter to it.
        return data.decode("latin-1")


def parse_conf(text: str, path: Path, what: str, root: str = "/", depth: int = 0) -> ConfFile:
    """See `read_conf`; ``depth`` counts the files that include this one."""
    lines: list[Line] = []
    included: list[ConfFile] = []
    for line in _logical(text, path, what):
        if line.key != "include":
            lines.append(line)
            continue
        file = _included(line, lines, what, root, depth)
        lines += file.lines
        included += [file, *file.included]
    return ConfFile(path, text, tuple(lines), tuple(included))


def _included(line: Line, before: list[Line], what: str, root: str, depth: int) -> ConfFile:
    """The file that an include line names; seen with 22.05: beside its own, %c is the cluster, no pattern."""
    if depth >= _MAX_DEPTH:
        raise ConfError(f"{line.place}: files include each other more than {_MAX_DEPTH} deep")
    cluster = next((one.pairs[0][1] for one in reversed(before) if one.key == "clustername"), None)
    target = line.pairs[0][1] if cluster is None else line.pairs[0][1].replace("%c", cluster.lower())
    path = Path(root) / target.lstrip("/") if target.startswith("/") else line.path.parent / target
    try:
        text = _text(path, what)
    except ConfError as error:
        raise ConfError(f"{line.place}: includes {error}") from None
    return parse_conf(text, path, what, root, depth + 1)


def _logical(text: str, path: Path, what: str) -> Iterator[Line]:
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
            yield Line(_pairs(pending.strip(), path, first, what), path, first, number + 1)
        pending = ""


def _pairs(text: str, path: Path, number: int, what: str) -> tuple[tuple[str, str], ...]:
    if text.split(maxsplit=1)[0].lower() == "include":
        return (("include", text[len("include") :].strip()),)
    pairs: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            raise ConfError(f"{path}:{number + 1}: is not a line of {what}: {text[:60]!r}")
        key = match[1].lower()
        key = _GRES_ALIASES.get(key, key) if what == "gres.conf" else key
        pairs.append((key, match[2].strip('"')))
        position = match.end()
    keys = {key for key, _ in pairs}
    foreign = keys & _SLURM_KEYS if what == "gres.conf" else {pairs[0][0]} & _NOT_SLURM_KEYS
    if foreign and what in ("gres.conf", "slurm.conf"):
        raise ConfError(f"{path}:{number + 1}: is not a {what}: it does not know {sorted(foreign)[0]!r}")
    return tuple(pairs)
