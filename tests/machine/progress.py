"""Say what is being built or booted, since both take long enough to make a person wonder."""

from __future__ import annotations

import sys
import time
from typing import Callable

Progress = Callable[[str], None]
"""Gets one short line whenever a slow thing begins or ends."""

_BEGIN = time.monotonic()


def to_stderr(message: str) -> None:
    """The default: one line each, with the seconds since the program began."""
    print(f"[{time.monotonic() - _BEGIN:7.1f} s] {message}", file=sys.stderr, flush=True)


def silent(message: str) -> None:
    """For callers that want no output."""
