"""Many jobs: each aligned, nothing left, nothing growing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from e2e.machines import configured

from native import Native

from .asking import assert_healthy

pytestmark = pytest.mark.native

RUN = "/run/numa-align"
JOB = "srun -n1 --gpus=1 --numa-align printenv NUMA_ALIGN_STATE"
#: KiB that glibc's arenas of slurmd's threads come and go by.
NOISE = 1024


def slurmd_size(native: Native) -> tuple[int, int]:
    """Its file descriptors, and its own memory in KiB.

    The least of some looks, since it may be answering a ping.
    """
    count = "ls /proc/$slurmd/fd | wc -l"
    own = "awk '/^Private_Dirty/ {print $2}' /proc/$slurmd/smaps_rollup"
    look = f"slurmd=$(pgrep -ox slurmd); for i in 1 2 3 4 5; do echo $({count}) $({own}); sleep 0.2; done"
    looks = [line.split() for line in native.run(look, check=True).stdout.splitlines()]
    return min(int(descriptors) for descriptors, _ in looks), min(int(memory) for _, memory in looks)


@pytest.mark.parametrize(
    "rounds", [(4, 8, 8), pytest.param((20, 90, 90), marks=pytest.mark.matrix)], ids=["20", "200"]
)
def test_jobs_in_a_row_leave_nothing(native: Native, rounds: tuple[int, ...]) -> None:
    """The first round is for what slurmd allocates once."""
    rows = []
    for jobs in rounds:
        done = native.run(f"for i in $(seq {jobs}); do {JOB}; done", user="user", timeout=600, check=True)
        assert done.stdout.split() == ["aligned"] * jobs
        assert_healthy(native)
        rows.append(slurmd_size(native))
    assert native.run(f"ls -A {RUN}", check=True).stdout == ""
    descriptors, memory = zip(*rows)
    assert len(set(descriptors)) == 1, rows
    assert memory[2] - memory[1] < NOISE, rows


def test_twenty_jobs_at_once_are_all_aligned(native: Native) -> None:
    extra = "PartitionName=crowd Nodes=node1 OverSubscribe=FORCE:32 State=UP"
    with configured(native, replace(native.config, slurm_extra=(extra,))):
        script = f"#!/bin/sh\n#SBATCH -p crowd -n1 --numa-align\n{JOB.replace('--gpus=1 ', '')}; sleep 1\n"
        native.put({"/tmp/crowd.sh": script}, mode=0o755)
        submit = "for i in $(seq 20); do sbatch -W -o %j.out /tmp/crowd.sh & done; wait"
        done = native.run(f"cd $(mktemp -d) && {submit}; cat *.out", user="user", timeout=300, check=True)
        states = [line for line in done.stdout.split("\n") if line in ("aligned", "unaligned", "partial")]
        assert states == ["aligned"] * 20
        assert_healthy(native)
        assert native.run(f"ls -A {RUN}", check=True).stdout == ""
