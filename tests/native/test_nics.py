"""The word nic in real Slurm: which cards tasks are told to use. The cards are only in the table, and their
files are fakes (``/sys/class/infiniband`` is a folder of this test).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Optional

import pytest
from e2e.steps import allocated

from native import Native

from .asking import said_by_plugin

pytestmark = pytest.mark.native

SHOW = ["sh", "-c", 'echo "$SLURM_PROCID NICS=${NUMA_ALIGN_NICS-} UCX=${UCX_NET_DEVICES-}"']


@pytest.fixture(scope="module")
def job(native: Native) -> Iterator[str]:
    """A job with two GPUs in whose table are three cards: one for each GPU, and one that no user may open."""
    native.run("mount -t tmpfs cards /sys/class", check=True)
    native.run("mkdir -p /sys/class/infiniband/fake_0 /sys/class/infiniband/fake_1", check=True)
    native.run("mkdir -p /sys/class/infiniband/fake_2 && install -m 600 /dev/null /dev/fake-card", check=True)
    try:
        with allocated(native, "-n2 --gpus=2") as number:
            table = f"/run/numa-align/{number}"
            lines = native.run(["cat", table], check=True).stdout.splitlines()[:-1]
            gpus = sum(line.startswith("gpu ") for line in lines)
            devices = ("/dev/null", "/dev/zero", "/dev/fake-card")
            for card, device in enumerate(devices):
                paths = ["PIX" if gpu == card or device == devices[2] else "SYS" for gpu in range(gpus)]
                lines.append(
                    f"note nic fake_{card} infiniband 1 0000:0{card}:00.0 - {device} {','.join(paths)}"
                )
            native.put({table: "\n".join([*lines, f"end {len(lines)}", ""])})
            yield number
    finally:
        native.run("umount /sys/class", check=True)


def told(
    native: Native, job: str, words: str, env: Optional[Mapping[str, str]] = None
) -> tuple[list[str], str]:
    """What each of two tasks finds, and what the plugin says."""
    command = ["srun", f"--jobid={job}", "--overlap", "-n2", "--gpus=2", f"--numa-align={words}", *SHOW]
    result = native.run(command, user="user", env=env, check=True)
    return sorted(result.stdout.splitlines()), said_by_plugin(result)


def test_each_task_is_told_the_card_beside_its_gpu(native: Native, job: str) -> None:
    found, said = told(native, job, "nic,verbose")
    assert found == ["0 NICS=fake_0 UCX=fake_0:1", "1 NICS=fake_1 UCX=fake_1:1"]
    assert "task 1: set UCX_NET_DEVICES=fake_1:1" in said


def test_without_the_word_libraries_are_told_nothing(native: Native, job: str) -> None:
    assert told(native, job, "on")[0] == ["0 NICS=fake_0 UCX=", "1 NICS=fake_1 UCX="]


def test_what_the_user_has_set_stays(native: Native, job: str) -> None:
    found, said = told(native, job, "nic,verbose", {"UCX_NET_DEVICES": "mine:1"})
    assert found == ["0 NICS=fake_0 UCX=mine:1", "1 NICS=fake_1 UCX=mine:1"]
    assert "UCX_NET_DEVICES is set already and stays" in said


def test_a_card_of_another_network_namespace_is_not_there(native: Native, job: str) -> None:
    native.run("mv /sys/class/infiniband/fake_1 /sys/class/elsewhere", check=True)
    try:
        found, _ = told(native, job, "nic")
    finally:
        native.run("mv /sys/class/elsewhere /sys/class/infiniband/fake_1", check=True)
    assert found == ["0 NICS=fake_0 UCX=fake_0:1", "1 NICS=fake_0 UCX=fake_0:1"]
