"""What the plugin says of memory on the task's nodes, against the kernel's own meminfo."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from e2e.machines import configured
from machine.slurm import MEMORY_SHARE

from native import Native

from .asking import said_by_plugin
from .native import WITHOUT_CGROUPS

pytestmark = pytest.mark.native

#: MiB by which memory of the host may change between the plugin's look and the test's.
SLACK = 1024


@pytest.fixture(scope="module")
def limiting(native: Native) -> Iterator[Native]:
    """Memory as a resource: only then has a step a limit that Slurm tells."""
    with configured(native, replace(WITHOUT_CGROUPS, select_parameters="CR_Core_Memory")) as cluster:
        yield cluster


def kernel_says(*names: str) -> int:
    """MiB of these lines of node 0."""
    text = Path("/sys/devices/system/node/node0/meminfo").read_text(encoding="ascii")
    found = (re.search(rf" {re.escape(name)}:\s+(\d+) kB", text) for name in names)
    return sum(int(match[1]) for match in found if match) >> 10


def limited(native: Native, mib: int, words: str) -> str:
    command = f"srun -n1 --gpus=1 --mem={mib} --numa-align={words} true"
    return said_by_plugin(native.run(command, user="user", check=True))


def test_bind_warns_by_what_the_node_has_left_not_by_its_size(limiting: Native) -> None:
    left = kernel_says("MemFree", "Active(file)", "Inactive(file)")
    more = left + SLACK
    if more > MEMORY_SHARE * sum(limiting.topology.node_memory()):
        pytest.skip("Slurm cannot give a job more than this node has left")
    said = limited(limiting, more, "mem=bind")
    match = re.search(
        rf"mem=bind: the step may use {more} MiB, the nodes near the GPUs have (\d+) MiB free and \d+ MiB of",
        said,
    )
    assert match, said
    assert abs(int(match[1]) - kernel_says("MemFree")) < SLACK
    assert "mem=bind" not in limited(limiting, 64, "mem=bind")


def test_verbose_shows_free_memory_and_cache_if_the_step_may_use_more(limiting: Native) -> None:
    more = kernel_says("MemFree") + SLACK
    if more > MEMORY_SHARE * sum(limiting.topology.node_memory()):
        pytest.skip("Slurm cannot give a job more than this node has free")
    said = limited(limiting, more, "verbose")
    match = re.search(rf" free=(\d+)M cache=(\d+)M limit={more}M \d+ us", said)
    assert match, said
    assert abs(int(match[1]) - kernel_says("MemFree")) < SLACK
    assert int(match[2]) <= kernel_says("Active(file)", "Inactive(file)")
    assert "free=" not in limited(limiting, 64, "verbose")
