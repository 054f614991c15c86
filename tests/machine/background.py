"""One thread that lives as long as the program, for what must not depend on the caller's thread.

The guest agent's client is asynchronous, so something has to run its event loop. And PR_SET_PDEATHSIG, by
which QEMU dies with us, watches the thread that forked rather than the process: a QEMU started from a test's
worker thread would die with it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import threading
from collections.abc import Coroutine
from typing import Any, Callable, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_owner = 0


def loop() -> asyncio.AbstractEventLoop:
    """The loop of this process; a fork gets its own, as threads do not survive one."""
    global _loop, _owner
    with _lock:
        if _loop is None or _owner != os.getpid():
            _loop, _owner = asyncio.new_event_loop(), os.getpid()
            threading.Thread(target=_loop.run_forever, name="machine", daemon=True).start()
        return _loop


def begin(work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
    """Start a coroutine there."""
    return asyncio.run_coroutine_threadsafe(work, loop())


def wait_for(work: Coroutine[Any, Any, T], timeout: float) -> T:
    """Run a coroutine there and wait for its result; TimeoutError cancels it."""
    try:
        return begin(asyncio.wait_for(work, timeout)).result()
    except asyncio.TimeoutError:  # a class of its own before Python 3.11
        raise TimeoutError(f"no answer within {timeout:.1f} s") from None


def call(function: Callable[..., T], *arguments: Any, timeout: float = 30.0) -> T:
    """Run a plain function there."""

    async def run() -> T:
        return functools.partial(function, *arguments)()

    return wait_for(run(), timeout)
