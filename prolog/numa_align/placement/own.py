"""What the kernel lets a process use, which limits every decision about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Own:
    """What the kernel lets the calling process use.

    ``cpus`` is its affinity mask; ``widest`` the CPUs to which it could be bound (its cpuset, or all that are
    online); ``memory_nodes`` is Mems_allowed.
    """

    cpus: tuple[int, ...]
    widest: tuple[int, ...]
    memory_nodes: tuple[int, ...]
