"""Clusters in namespaces of this host: how they end."""

from __future__ import annotations

import subprocess
from typing import IO, Any, Optional

PATIENCE = 10.0


def end(outer: subprocess.Popen[Any]) -> None:
    """End ``unshare --kill-child``: its child ends with its stdin, or the kernel ends the whole namespace."""
    streams: tuple[Optional[IO[Any]], ...] = (outer.stdin, outer.stdout, outer.stderr)
    if outer.stdin is not None:
        outer.stdin.close()
    try:
        outer.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        outer.kill()
        outer.wait()
    for stream in streams:
        if stream is not None:
            stream.close()
