"""One machine for all tests of the default kind: a boot takes most of a minute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine, Topology

from . import steps

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """Two nodes of four cores, GPUs 0-3 and 4-7, Slurm 24.11, the project installed."""
    with Machine(Topology(), project=ROOT) as booted:
        booted.copy_in(steps.PROBE_FILE, "/opt/probe.py")
        yield booted
