"""stdout and stderr that accept anything: closed, full, a pipe without a reader, or of any encoding.

Python sets a closed stream to None, and the next file that is opened gets its number. A stream that fails
does so at the write and again when Python exits, which then has a status of its own. Here a failure of stdout
is a single OutputError, and a failure of stderr is ignored: a program must not end because of a message
about it.
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
    """A file descriptor; after the first failure all output is discarded, so that nothing fails twice."""

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
    """Replace Python's own streams."""
    _occupy_standard_numbers()
    sys.stdout = _text(sys.stdout, 1, needed=True)
    sys.stderr = _text(sys.stderr, 2, needed=False)


def _occupy_standard_numbers() -> None:
    """Open /dev/null for reading where one is closed: else the next file gets the number, and our output.

    The command that we become finds it closed, as it would have been (os.open sets O_CLOEXEC).
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
