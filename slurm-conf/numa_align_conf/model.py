"""What Slurm was told about a node: frozen values that readers fill and checks look at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Declared:
    """A node as Slurm has it declared; ``source`` says who said so."""

    sockets: int
    cores_per_socket: int
    threads: int
    memory_mib: int = 0
    spec_cpus: tuple[int, ...] = ()
    source: str = "slurm.conf"
