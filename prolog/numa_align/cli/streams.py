"""stdout and stderr that hold whatever they are: closed, full, a pipe that nobody reads, or of any encoding.

Python has None for a stream that is closed, whose number the next file gets that is opened. It fails where
output fails and once more when it ends, then with a status of its own. What cannot be written to stdout is
one OutputError here, and what cannot be written to stderr is lost: a program is not to end by what is said
of it.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Optional, TextIO

from ..errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Stream(io.RawIOBase):
    """A file descriptor; after the first failure everything goes nowhere, so that nothing fails twice."""

    def __init__(self, number: int, *, needed: bool) -> None:
        super().__init__()
        self._number = number
        self._needed = needed
        self._lost = False

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        if not self._lost:
            try:
                return os.write(self._number, data)
            except OSError as error:
                self._lost = True
                if self._needed:
                    raise OutputError(error) from error
        return len(memoryview(data).cast("B"))


def take_streams() -> None:
    """Put them in the place of Python's."""
    _occupy_standard_numbers()
    sys.stdout = _text(sys.stdout, 1, needed=True)
    sys.stderr = _text(sys.stderr, 2, needed=False)


def _occupy_standard_numbers() -> None:
    """Where one is closed, /dev/null, for reading: the next file would get the number, and our output.

    A program that we become finds it closed, as it would have been (os.open sets O_CLOEXEC).
    """
    number = 0
    while number <= 2:
        number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)


def _text(python: Optional[TextIO], number: int, *, needed: bool) -> TextIO:
    raw = _Stream(number, needed=needed)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(python, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=not needed or raw.isatty(),
    )
