"""One machine for all tests of the default kind: a boot takes most of a minute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from machine import EmulatedMachine, Hardware

from .machines import booted


@pytest.fixture(scope="session")
def machine() -> Iterator[EmulatedMachine]:
    """Two nodes of four cores, GPUs 0-3 and 4-7, Slurm 24.11, the project installed."""
    with booted(Hardware()) as ready:
        yield ready
