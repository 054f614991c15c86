"""What the kernel lets a process use: the frame of every decision about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Own:
    """What the kernel lets the calling process use.

    ``cpus`` is its mask; ``widest`` what it could be bound to (its cpuset, or all that is online);
    ``memory_nodes`` is Mems_allowed.
    """

    cpus: tuple[int, ...]
    widest: tuple[int, ...]
    memory_nodes: tuple[int, ...]
