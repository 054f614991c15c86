"""Report what is being built or booted, since both take long."""

from __future__ import annotations

import sys
import time
from typing import Callable

from rich.console import Console
from rich.markup import escape

Progress = Callable[[str], None]
"""Gets one short line whenever a slow thing begins or ends."""

_BEGIN = time.monotonic()


def to_stderr(message: str) -> None:
    """One line each, with the seconds since the program began."""
    print(f"[{time.monotonic() - _BEGIN:7.1f} s] {message}", file=sys.stderr, flush=True)


def silent(message: str) -> None:
    """For callers that want no output."""


def on_terminal() -> Progress:
    """The same for a person's eyes: the times dimmed."""
    console = Console(stderr=True, highlight=False)

    def show(message: str) -> None:
        console.print(f"[dim]{time.monotonic() - _BEGIN:7.1f} s[/dim] {escape(message)}")

    return show
