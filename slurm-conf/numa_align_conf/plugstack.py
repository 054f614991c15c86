"""plugstack.conf as Slurm reads it: ``required|optional PATH [words]`` and ``include PATTERN``.

Source: spank(8), CONFIGURATION; a pattern is relative to the file that has it, and may match nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from numa_align.errors import ConfError
from numa_align.slurm_files.conffile import ConfFile, physical_lines

_MAX_DEPTH = 8

#: Part of the path by which our plugin is recognised, wherever it is installed.
NAME = "numa-align"


@dataclass(frozen=True)
class Entry:
    """A line that names a plugin: its place (``number`` from 1), and its words, at least two."""

    path: Path
    number: int
    words: tuple[str, ...]

    @property
    def place(self) -> str:
        """``FILE:LINE``."""
        return f"{self.path}:{self.number}"

    @property
    def is_ours(self) -> bool:
        """Whether it is this project's plugin."""
        return NAME in self.words[1]


@dataclass(frozen=True)
class Stack:
    """The entries in the order in which plugins are called, and their files, the named one first.

    ``patterns`` are the places of includes with a pattern: slurmctld does not send the files that match.
    """

    entries: tuple[Entry, ...]
    files: tuple[ConfFile, ...]
    patterns: tuple[str, ...] = ()


def read_stack(path: Path, root: str = "/") -> Stack:
    """plugstack.conf and its includes; absolute patterns are below ``root``. Raises ConfError."""
    files: dict[str, ConfFile] = {}
    patterns: list[str] = []
    entries = tuple(_entries(path, root, files, patterns, 0))
    return Stack(entries, tuple(files.values()), tuple(patterns))


def _entries(
    path: Path, root: str, files: dict[str, ConfFile], patterns: list[str], depth: int
) -> Iterator[Entry]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfError(f"{path}: cannot be read: {error.strerror}") from None
    files[str(path)] = ConfFile(str(path), text, ())
    for number, line in enumerate(physical_lines(text), 1):
        words = tuple(line.partition("#")[0].split())
        if not words:
            continue
        if words[0] not in ("optional", "required", "include") or len(words) < 2:
            raise ConfError(f"{path}:{number}: is not a line of plugstack.conf: {line.strip()[:60]!r}")
        if words[0] != "include":
            yield Entry(path, number, words)
        elif depth >= _MAX_DEPTH:
            raise ConfError(f"{path}:{number}: files include each other more than {_MAX_DEPTH} deep")
        else:
            target = words[1]
            if "*" in target:
                patterns.append(f"{path}:{number}")
            beside = Path(root) / target.lstrip("/") if target.startswith("/") else path.parent / target
            for member in sorted(beside.parent.glob(beside.name)):
                yield from _entries(member, root, files, patterns, depth + 1)


def edited_plugstack(stack: Stack, generated: str) -> dict[str, str]:
    """The texts by path with our line once: in place of the first of ours, else at the named file's end."""
    line = next(line for line in generated.splitlines() if line.startswith("optional"))
    ours = [entry for entry in stack.entries if entry.is_ours]
    texts = {file.path: physical_lines(file.text) for file in stack.files}
    if not ours:
        texts[stack.files[0].path] += generated.splitlines()
    # The last first, since the numbers of lines after a removed one change.
    for entry in reversed(ours):
        texts[str(entry.path)][entry.number - 1 : entry.number] = [line] if entry == ours[0] else []
    return {path: "\n".join([*lines, ""]) for path, lines in texts.items()}


def as_one(stack: Stack) -> ConfFile:
    """The files as one that includes the others, for `edit.difference`."""
    return stack.files[0]._replace(included=stack.files[1:])
