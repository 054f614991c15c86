"""What Slurm was told about a node: frozen values that readers fill and checks examine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Declared:
    """A node as it is declared to Slurm; ``source`` is where that was read."""

    sockets: int
    cores_per_socket: int
    threads: int
    memory_mib: int = 0
    spec_cpus: tuple[int, ...] = ()
    source: str = "slurm.conf"
