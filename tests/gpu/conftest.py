"""Skips everything here where there is no NVIDIA GPU; otherwise one cluster for all tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from numa_align.topology.model import Gpu
from numa_align.topology.read import read_here

from gpu.cluster import Cluster, why_not

HERE = Path(__file__).parent
DRIVER = Path("/proc/driver/nvidia/gpus")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpus(count): needs so many NVIDIA GPUs")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if HERE not in item.path.parents:
        return
    found = len(list(DRIVER.iterdir())) if DRIVER.is_dir() else 0
    if not found:
        pytest.skip(f"no NVIDIA GPU here: {DRIVER} has none")
    marker = item.get_closest_marker("gpus")
    if marker is not None and found < marker.args[0]:
        pytest.skip(f"needs {marker.args[0]} GPUs, and there is {found}")
    missing = [name for name in ("torch", "pynvml") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"this Python lacks {' and '.join(missing)}")


@pytest.fixture(scope="session")
def gpus() -> tuple[Gpu, ...]:
    """The GPUs as the resolver finds them on this machine."""
    return read_here().gpus


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Slurm with all GPUs of the node, plugin, prolog and epilog."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Cluster() as running:
        yield running
