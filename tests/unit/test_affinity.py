"""Masks and policies on kernels that have none, or forbid them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from numa_align.errors import BindError
from numa_align.process import affinity

OLD_KERNEL = Path(__file__).parents[1] / "without_preferred_many.py"


def refuse(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake of the kernel's answer to every call about policies."""

    def call(which: int, *arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(affinity, "_call", call)


def test_a_kernel_without_numa_has_one_node_and_needs_no_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(errno.ENOSYS, monkeypatch)
    monkeypatch.setattr(affinity, "_NODES", "/nonexistent")
    assert affinity.set_policy("preferred", (0,)) == "default"
    assert affinity.read_policy() == ("default", ())
    assert affinity.allowed_nodes() == affinity.read_own().memory_nodes != ()


def test_a_sandbox_that_blocks_the_call_is_a_failure_with_numa(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse(errno.ENOSYS, monkeypatch)
    monkeypatch.setattr(affinity, "_NODES", "/sys")
    with pytest.raises(BindError, match="Function not implemented"):
        affinity.set_policy("preferred", (0,))
    with pytest.raises(BindError, match="asking for the memory policy failed"):
        affinity.read_policy()


def test_a_container_that_forbids_it_is_told_what_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(errno.EPERM, monkeypatch)
    with pytest.raises(BindError, match="--cap-add SYS_NICE"):
        affinity.set_policy("bind", (0,))


def test_a_cpu_that_is_not_there_cannot_be_bound_to() -> None:
    with pytest.raises(BindError, match="binding this process to its CPUs failed: Invalid argument"):
        affinity.bind_cpus(0, (8191,))


@pytest.mark.skipif(os.geteuid() != 0 or os.uname().machine != "x86_64", reason="needs root and x86-64")
@pytest.mark.parametrize(("nodes", "mode"), [((0,), "preferred"), ((0, 1), "local")])
def test_without_preferred_many_the_nearest_known_policy_is_set(nodes: tuple[int, ...], mode: str) -> None:
    code = (
        "from numa_align.process import affinity\n"
        f"print(affinity.set_policy('preferred-many', {nodes}), affinity.read_policy()[0])"
    )
    command = [sys.executable, str(OLD_KERNEL), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [mode, mode]


def test_one_node_is_preferred_in_the_way_that_reclaims_its_cache() -> None:
    code = (
        "from numa_align.process import affinity\n"
        "print(affinity.set_policy('preferred-many', (0,)), *affinity.read_policy())\n"
        "print(open('/proc/self/numa_maps').read().count('prefer (many):0'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, lines = done.stdout.splitlines()
    assert said == "preferred-many preferred-many (0,)" and int(lines) > 0
