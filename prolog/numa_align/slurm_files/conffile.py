"""Slurm's configuration files as lines of ``Key=value``, with the places where they are.

Files are read by Slurm's own rules (src/common/parse_config.c): a file is bytes, "#" begins a
comment unless a backslash precedes it, a backslash at the end continues a line without adding a space, only
ASCII white space separates, keys are not case-sensitive, ``include`` begins its line. The job prolog loads
this module (docs/decisions/prolog-imports.md).
"""

from __future__ import annotations

import os

from ..errors import ConfError
from ..light_typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

    from ..sysfs import AnyPath

_SIZE_LIMIT = 16 << 20

# Slurm itself has no limit: a file that includes itself crashes it.
_MAX_DEPTH = 8

# A pipe in place of a file must not block the prolog, nor a terminal become its controlling one.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_KEY = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_."
_OPERATORS = (b"-", b"+", b"*", b"/")

# No text file has these bytes; Slurm would take them as part of a value.
_CONTROL = bytes(byte for byte in (*range(0x20), 0x7F) if byte not in b"\t\n\v\f\r")

# Keys that begin lines of slurm.conf; gres.conf has none of them.
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


class Line(NamedTuple):
    """A logical line of a file: pairs with keys in lower case; it covers lines ``first`` to ``end`` - 1."""

    pairs: tuple[tuple[str, str], ...]
    path: str
    first: int
    end: int

    @property
    def key(self) -> str:
        """The first key, which tells what the line is about."""
        return self.pairs[0][0]

    @property
    def value(self) -> str:
        """The value of the first key."""
        return self.pairs[0][1]

    @property
    def place(self) -> str:
        """``FILE:LINE``."""
        return f"{self.path}:{self.first + 1}"

    def get(self, key: str) -> Optional[str]:
        """Value of a key in lower case, the last one if it occurs twice; None if the line has none."""
        return dict(self.pairs).get(key)


class ConfFile(NamedTuple):
    """A file and what it includes.

    ``lines`` are the logical lines without blank ones and comments, those of included files in the place
    where Slurm reads them; ``included`` are these files, and what they include.
    """

    path: str
    text: str
    lines: tuple[Line, ...]
    included: tuple[ConfFile, ...] = ()

    @property
    def files(self) -> tuple[ConfFile, ...]:
        """This file, then the included ones, each once."""
        return tuple({file.path: file for file in (self, *self.included)}.values())

    def value(self, key: str) -> Optional[str]:
        """The last value of a key that begins a line; ``key`` in lower case."""
        return next((line.value for line in reversed(self.lines) if line.key == key), None)

    def place(self, key: str) -> str:
        """``FILE:LINE`` of that value, the file alone if there is none."""
        return next((line.place for line in reversed(self.lines) if line.key == key), self.path)


def read_conf(path: AnyPath, what: str, root: str = "/") -> ConfFile:
    """The file at ``path``, a ``what`` (slurm.conf, gres.conf or cgroup.conf), and what it includes.

    Absolute paths of included files are below ``root``; no path in the result or in an error shows it. Raises
    ConfError with file and line for anything else than such a file, and for a missing included file, with
    which no Slurm command starts.
    """
    name = os.fspath(path)
    return _Reader(what, root, name).file(_data(name, shown(name, root), what), name)


def parse_conf(text: str, path: AnyPath, what: str, root: str = "/") -> ConfFile:
    """The same for a text that is, or will be, at ``path``."""
    name = os.fspath(path)
    return _Reader(what, root, name).file(text.encode("utf-8", "surrogateescape"), name)


def shown(path: str, root: str) -> str:
    """A path without the root below which it is, as on the machine that was recorded."""
    prefix = root.rstrip("/") + "/"
    return "/" + path[len(prefix) :] if len(prefix) > 1 and path.startswith(prefix) else path


def _folder(path: str) -> str:
    return path.rpartition("/")[0] if "/" in path else "."


def physical_lines(text: str) -> list[str]:
    """The lines whose numbers `Line` uses: only a line feed ends one, not Unicode's other separators."""
    lines = [line.rstrip("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _data(path: str, name: str, what: str) -> bytes:
    try:
        data = _read(path)
    except OSError as error:
        raise ConfError(f"{name}: cannot be read: {error.strerror}") from error
    if len(data) > _SIZE_LIMIT:
        raise ConfError(f"{name}: is not a {what}: it has more than {_SIZE_LIMIT >> 20} MiB")
    return data


def _read(path: str) -> bytes:
    descriptor = os.open(path, _FLAGS)
    try:
        chunks, size = [], 0
        while size <= _SIZE_LIMIT and (chunk := os.read(descriptor, 1 << 20)):
            chunks.append(chunk)
            size += len(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)


class _Reader:
    """Reads a file and those it includes; ``full`` is a path on this machine, ``path`` the one to show."""

    def __init__(self, what: str, root: str, first: str) -> None:
        self._what = what
        self._root = root
        self._folder = _folder(first)
        self._cluster: Optional[str] = None

    def file(self, data: bytes, full: str, depth: int = 0) -> ConfFile:
        path = shown(full, self._root)
        try:
            text, encoding = data.decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            # Slurm reads bytes, so a comment may be in another encoding.
            text, encoding = data.decode("latin-1"), "latin-1"
        # Slurm accepts such bytes in comments, too.
        is_text = len(data.translate(None, _CONTROL)) == len(data)
        lines: list[Line] = []
        included: list[ConfFile] = []
        for raw, first, end in _logical(data):
            place = f"{path}:{first + 1}"
            if not is_text and len(raw.translate(None, _CONTROL)) != len(raw):
                raise ConfError(f"{place}: is not a {self._what}: it is not text")
            target = self._target(raw, place)
            if target is not None:
                file = self._included(target.decode(encoding), full, place, depth)
                lines += file.lines
                included += [file, *file.included]
                continue
            line = Line(self._pairs(raw, encoding, place), path, first, end)
            if line.key == "clustername":
                self._cluster = line.value.lower()
            lines.append(line)
        return ConfFile(path, text, tuple(lines), tuple(included))

    def _error(self, place: str, raw: bytes) -> ConfError:
        return ConfError(f"{place}: is not a line of {self._what}: {raw.decode('latin-1').rstrip()[:60]!r}")

    def _target(self, raw: bytes, place: str) -> Optional[bytes]:
        """The file that an include line names, None for another line. It has to be alone on the line."""
        if raw[:7].lower() != b"include" or not raw[7:8].isspace():
            return None
        words = raw[7:].split()
        if len(words) != 1:
            raise self._error(place, raw)
        return words[0]

    def _included(self, target: str, including: str, place: str, depth: int) -> ConfFile:
        if depth >= _MAX_DEPTH:
            raise ConfError(f"{place}: files include each other more than {_MAX_DEPTH} deep")
        name = target if self._cluster is None else target.replace("%c", self._cluster)
        full = self._full(name, including)
        try:
            data = _data(full, shown(full, self._root), self._what)
        except ConfError as error:
            raise ConfError(f"{place}: includes {error}") from None
        return self.file(data, full, depth + 1)

    def _full(self, name: str, including: str) -> str:
        if name.startswith("/"):
            return self._root.rstrip("/") + name
        # Since 23.02 all are beside slurm.conf (get_extra_conf_path), in 22.05 beside the file that has the
        # line; usually only one of the two exists.
        beside_first = f"{self._folder}/{name}"
        return beside_first if os.path.exists(beside_first) else f"{_folder(including)}/{name}"  # noqa: PTH110

    def _pairs(self, raw: bytes, encoding: str, place: str) -> tuple[tuple[str, str], ...]:
        pairs = _plain_pairs(raw)
        rest = b"" if pairs else raw.strip()
        while rest:
            pair = _pair(rest)
            if pair is None:
                raise self._error(place, rest if pairs else raw)
            key, value, rest = pair
            pairs.append((key.decode("ascii").lower(), value.decode(encoding)))
        self._refuse_other_files(pairs, place)
        return tuple(pairs)

    def _refuse_other_files(self, pairs: list[tuple[str, str]], place: str) -> None:
        foreign: frozenset[str] = frozenset()
        if self._what == "gres.conf":
            foreign = _SLURM_KEYS.intersection([key for key, _ in pairs])
        elif self._what == "slurm.conf":
            foreign = _NOT_SLURM_KEYS.intersection(pairs[0][:1])
        if foreign:
            raise ConfError(f"{place}: is not a {self._what}: it does not know {sorted(foreign)[0]!r}")


def _logical(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Lines joined with their continuations, without comments and escapes, and where they begin and end."""
    pending, first, continued = b"", 0, False
    physical = data.split(b"\n")
    if not physical[-1]:
        physical.pop()
    for number, raw in enumerate(physical):
        first = first if continued else number
        line = _without_comment(raw)
        ended = line.rstrip()
        continued = (len(ended) - len(ended.rstrip(b"\\"))) % 2 == 1
        pending += ended[:-1] if continued else line
        if not continued or number + 1 == len(physical):
            if pending and not pending.isspace():
                yield _without_escapes(pending), first, number + 1
            pending = b""


def _without_comment(line: bytes) -> bytes:
    """The text before the first "#" that follows an even number of backslashes."""
    start = line.find(b"#")
    while start > 0:
        before = line[:start]
        if (start - len(before.rstrip(b"\\"))) % 2 == 0:
            break
        start = line.find(b"#", start + 1)
    return line if start < 0 else line[:start]


def _without_escapes(line: bytes) -> bytes:
    if b"\\" not in line:
        return line
    pieces = line.split(b"\\\\")
    return b"\\".join(piece.replace(b"\\", b"") for piece in pieces)


def _plain_pairs(raw: bytes) -> list[tuple[str, str]]:
    """The pairs of the usual kind of line, words ``Key=value`` without quotes; empty for any other line.

    This is faster: a cluster has thousands of lines, and every job's prolog waits for them.
    """
    if not raw.isascii() or b'"' in raw:
        return []
    words = [word.partition("=") for word in raw.decode("ascii").split()]
    pairs = [(key.lower(), value) for key, _, value in words if value and key.isidentifier()]
    return pairs if len(pairs) == len(words) else []


def _pair(text: bytes) -> Optional[tuple[bytes, bytes, bytes]]:
    """The key, its value and the rest of a text that begins with a key; None if it does not."""
    key, equals, rest = text.partition(b"=")
    key = (key[:-1] if key[-1:] in _OPERATORS else key).rstrip()
    if not equals or not key or key.translate(None, _KEY):
        return None
    rest = rest.lstrip()
    if rest[:1] == b'"':
        value, closed, behind = rest[1:].partition(b'"')
        if closed and (not behind or behind[:1].isspace()):
            return key, value, behind.lstrip()
    words = rest.split(None, 1)
    if not words:
        return None
    return key, words[0], words[1] if len(words) > 1 else b""
