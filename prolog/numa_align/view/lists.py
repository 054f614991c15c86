"""Lists of CPUs in tables: they wrap at commas, and not at all if the output is not a terminal."""

from __future__ import annotations

import sys

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

#: The width for a file or a pipe, which is unlimited.
_NO_LIMIT = 10000


class AtCommas:
    """``0-3,8,12-15``, which wraps after a comma and never inside a number."""

    def __init__(self, text: str) -> None:
        """A list, and any text after it, as `format_cpulist` writes it."""
        self._text = text
        self._parts = [f"{part}," for part in text.split(",")[:-1]] + text.split(",")[-1:]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """At least the longest part, at most all of it."""
        return Measurement(max(map(len, self._parts)), len(self._text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As many parts per line as fit."""
        lines = [""]
        for part in self._parts:
            if lines[-1] and len(lines[-1]) + len(part) > options.max_width:
                lines.append("")
            lines[-1] += part
        yield Text("\n".join(lines))


def console_here() -> Console:
    """stdout: as wide as the terminal, else as wide as needed."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _NO_LIMIT)
