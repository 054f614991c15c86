"""A progress bar on stderr for long operations."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

#: Called with how much is done, of how much, and what is being done ("" if that is unchanged).
Tell = Callable[[int, int, str], None]


@contextmanager
def progress(what: str) -> Iterator[Tell]:
    """A bar if stderr is a terminal; else nothing, as rich 13 prints a newline even for a disabled bar."""
    if not sys.stderr.isatty():
        yield lambda done, of, now: None
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        number = bar.add_task(what, total=None)
        yield lambda done, of, now: bar.update(number, completed=done, total=of, description=now or what)
