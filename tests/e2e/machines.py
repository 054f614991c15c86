"""Machines with the project and the probe in them, and their configurations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional, Protocol, TypeVar

from machine import EmulatedMachine, Hardware, Layer, SlurmConfig

from .steps import put_probe

ROOT = Path(__file__).resolve().parents[2]


class Configurable(Protocol):
    """A machine in QEMU or a native cluster."""

    config: SlurmConfig

    def configure(self, config: SlurmConfig) -> None:
        """Restart its Slurm with another configuration."""


Cluster = TypeVar("Cluster", bound=Configurable)


def without_gres(slurm_conf: str) -> str:
    """A slurm.conf that tells Slurm of no GPU, as where whole nodes are given out."""
    return re.sub(r"^GresTypes=.*\n| Gres=\S+", "", slurm_conf, flags=re.MULTILINE)


@contextmanager
def booted(
    topology: Hardware,
    slurm: str = "24.11",
    *,
    config: Optional[SlurmConfig] = None,
    cgroup: int = 2,
    layer: Optional[Layer] = None,
) -> Iterator[EmulatedMachine]:
    """A machine that is ready for `srun --numa-align PROBE`."""
    with EmulatedMachine(topology, slurm, project=ROOT, config=config, cgroup=cgroup, layer=layer) as machine:
        put_probe(machine)
        yield machine


@contextmanager
def configured(cluster: Cluster, config: SlurmConfig) -> Iterator[Cluster]:
    """The cluster, with another configuration for the duration of the block."""
    before = cluster.config
    try:
        cluster.configure(config)
        yield cluster
    finally:
        cluster.configure(before)
