"""Bounded reading of sysfs and procfs below a root.

Everything that reads the machine goes through a `Tree`, so that a recorded machine is read
exactly like a live one and nothing in it can do harm: a file that is missing, a
directory, a pipe, too long or full of noise reads as None, an unreadable directory
as empty. No exception leaves this module.

Source: Documentation/filesystems/sysfs.rst (one value per file, at most a page for text
attributes); binary attributes such as ``cpulist`` may be longer.
"""

from __future__ import annotations

import os

from .cpulist import parse_cpulist, parse_cpumap
from .light_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Callable, Optional, Union

    #: A path as text or as an object.
    AnyPath = Union[str, os.PathLike[str]]

#: Bytes; more than any file that is read here (the CPU list of 8192 CPUs, every other one
#: offline, has 20 kB). A longer file cannot be right and reads as None.
SIZE_LIMIT = 65536

#: Of a node, to be filled in: what is written to it makes the kernel drop page cache there (Linux 6.17).
RECLAIM = "sys/devices/system/node/node{}/reclaim"

# O_NONBLOCK: a pipe in place of a file must not block the prolog. O_NOCTTY: no controlling terminal.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

# 2**64 has 20 digits: no kernel counter is longer.
_MAX_DIGITS = 20


class Tree:
    """The files below ``root``; paths are relative to it, without a leading slash."""

    __slots__ = ("_prefix",)

    def __init__(self, root: AnyPath) -> None:
        """``root`` takes the place of ``/``; it need not exist."""
        self._prefix = os.fspath(root).rstrip("/") + "/"

    @property
    def is_live(self) -> bool:
        """Whether this is the running machine, which can also be asked by other means."""
        return self._prefix == "/"

    def path(self, path: str) -> str:
        """The path for the operating system."""
        return self._prefix + path

    def text(self, path: str) -> Optional[str]:
        """Content of a file without surrounding white space and NULs; None if it cannot be read."""
        return read_text(self._prefix + path)

    def data(self, path: str) -> Optional[bytes]:
        """Content of a binary file; None if it cannot be read."""
        return _read(self._prefix + path, SIZE_LIMIT)

    def number(self, path: str) -> Optional[int]:
        """The decimal number that is the whole content of a file; None for any other content."""
        return to_number(self.text(path))

    def cpus(self, *paths: str) -> Optional[tuple[int, ...]]:
        """The CPU set in the first of these files that has one; None if none does.

        ``online`` and files with ``list`` in their name are read in the list format, others as masks.
        """
        for path in paths:
            text = self.text(path)
            if text is None:
                continue
            parse: Callable[[str], tuple[int, ...]] = (
                parse_cpulist if path.endswith(("list", "online", "listaffinity")) else parse_cpumap
            )
            try:
                return parse(text)
            except ValueError:
                continue
        return None

    def names(self, path: str) -> list[str]:
        """Names in a directory, unordered; empty if it cannot be listed."""
        try:
            return os.listdir(self._prefix + path)  # noqa: PTH208 (pathlib takes three times as long)
        except (OSError, ValueError):
            return []

    def numbered(self, path: str, prefix: str) -> list[int]:
        """The N of the entries ``prefixN`` of a directory, ascending."""
        start = len(prefix)
        found = (to_number(name[start:]) for name in self.names(path) if name.startswith(prefix))
        return sorted(number for number in found if number is not None and number >= 0)

    def exists(self, path: str) -> bool:
        """Whether anything with this name exists."""
        try:
            return os.path.lexists(self._prefix + path)
        except (OSError, ValueError):
            return False

    def may_write(self, path: str) -> bool:
        """Whether this process could write to it; not on a file system that is mounted read-only."""
        return os.access(self._prefix + path, os.W_OK)

    def link(self, path: str) -> Optional[str]:
        """The target of a symbolic link, as written in it; None if it is not a link."""
        try:
            return os.readlink(self._prefix + path)  # noqa: PTH115 (see names)
        except (OSError, ValueError):
            return None


def read_text(path: str, limit: int = SIZE_LIMIT) -> Optional[str]:
    """Content of a file without surrounding white space and NULs.

    None if it cannot be read or has more than ``limit`` bytes.
    """
    data = _read(path, limit)
    # Recordings of some kernels end in a NUL byte.
    return None if data is None else data.decode("utf-8", "replace").strip("\0 \t\n\r")


def _read(path: str, limit: int) -> Optional[bytes]:
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError):
        return None
    try:
        data = b""
        # Reads of /proc may return pieces: only an empty read is the end.
        while chunk := os.read(descriptor, limit + 1 - len(data)):
            data += chunk
            if len(data) > limit:
                return None
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return data


def to_number(text: Optional[str]) -> Optional[int]:
    """The value of a decimal number with an optional minus; None for any other text.

    Unlike int(), it accepts neither blanks nor underscores nor digits of other scripts.
    """
    if text is None or len(text) > _MAX_DIGITS + 1 or not text.isascii():
        return None
    digits = text[1:] if text.startswith("-") else text
    return int(text) if digits.isdigit() else None


def to_hex(text: Optional[str]) -> Optional[int]:
    """The value of a hexadecimal number, with or without ``0x``; None for any other text."""
    if text is None or not text.isascii() or not text.isalnum() or len(text) > _MAX_DIGITS:
        return None
    try:
        return int(text, 16)
    except ValueError:
        return None


def one_line(text: Optional[str]) -> Optional[str]:
    """A name that is fit for display: printable, at most 80 characters; None if nothing is left."""
    if not text:
        return None
    return "".join(character if character.isprintable() else "?" for character in text[:80])


def fields(text: Optional[str]) -> dict[str, str]:
    """The ``Name: value`` lines of a file of /proc, without the blanks around either.

    If a name occurs twice, the first value counts.
    """
    found: dict[str, str] = {}
    for line in (text or "").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found
