"""Slurm versions, configurations and ways of starting work: every cell judged by the kernel.

One boot serves all cells of a version. `make test` has one Slurm in full and the others in short; the marker
`matrix` has the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Optional

import pytest
from machine import EmulatedMachine, Hardware, SlurmConfig

from . import machines, steps
from .shapes import SHAPES, SHORT, check_shape
from .steps import PROBE, allocated, ranks_of
from .truth import assert_all_aligned, assert_nobody_shares, assert_true

pytestmark = pytest.mark.machine

#: What differs from the stock configuration.
CONFIGS = {
    "devices open": SlurmConfig(constrain_devices=False),
    "cores open": SlurmConfig(constrain_cores=False),
    "all open": SlurmConfig(constrain_cores=False, constrain_devices=False),
    "no affinity": SlurmConfig(task_plugin="task/cgroup"),
    "no Cores": SlurmConfig(gres_cores=False),
}


@dataclass(frozen=True)
class Boot:
    slurm: str
    cgroup: int = 2


BOOTS = {
    "24.11": Boot("24.11"),
    "22.05": Boot("22.05"),
    "22.05 cgroup v1": Boot("22.05", cgroup=1),
    "26.05": Boot("26.05"),
}
FULL = "24.11"
#: What test_align.py has for that Slurm, in more detail.
ALREADY = ("a GPU a task", "gpus-per-task", "gpu-bind=closest", "a step of a script", "salloc")


class OneAtATime:
    """Two nodes of four cores, GPUs 0-3 and 4-7.

    Not a fixture of the module with parameters, which pytest makes anew for each test with one more.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._up: Optional[tuple[str, EmulatedMachine]] = None

    def get(self, name: str) -> EmulatedMachine:
        if self._up is None or self._up[0] != name:
            self._up = None
            self._stack.close()
            boot = BOOTS[name]
            machine = self._stack.enter_context(machines.booted(Hardware(), boot.slurm, cgroup=boot.cgroup))
            self._up = (name, machine)
        return self._up[1]


@pytest.fixture(scope="module")
def booted() -> Iterator[OneAtATime]:
    with ExitStack() as stack:
        yield OneAtATime(stack)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, booted: OneAtATime) -> EmulatedMachine:
    """For one Slurm it is the machine that other modules have booted."""
    name = request.param
    return request.getfixturevalue("machine") if name == FULL else booted.get(name)


def cells() -> Iterator[object]:
    for name, boot in BOOTS.items():
        for shape in SHAPES:
            everyday = shape not in ALREADY if name == FULL else shape in SHORT and boot.cgroup == 2
            yield pytest.param(
                name, shape, marks=() if everyday else pytest.mark.matrix, id=f"{name}-{shape}"
            )


@pytest.mark.parametrize(("cluster", "name"), list(cells()), indirect=["cluster"])
def test_every_way_of_starting_work_is_aligned(cluster: EmulatedMachine, name: str) -> None:
    check_shape(cluster, name)


@pytest.fixture
def configured(request: pytest.FixtureRequest, cluster: EmulatedMachine) -> Iterator[EmulatedMachine]:
    with machines.configured(cluster, CONFIGS[request.param]):
        yield cluster


@pytest.mark.matrix
@pytest.mark.parametrize("configured", CONFIGS, indirect=True)
@pytest.mark.parametrize("cluster", BOOTS, indirect=True)
def test_every_configuration_aligns_and_stays_inside_the_step(configured: EmulatedMachine) -> None:
    for options in ("-n8 --gpus=8", "-n8 --gpus-per-task=1"):
        ranks = steps.step(configured, f"srun --numa-align {options} {PROBE}")
        assert_all_aligned(ranks, configured.topology, 8)
        assert_nobody_shares(ranks)
        gpus = [rank.environment["NUMA_ALIGN_GPUS"] for rank in ranks]
        assert len(set(gpus)) == 8, gpus
    # The third job of two cores: whoever sees more CPUs than the step has must not take them.
    first = "--distribution=block:block -n3"
    look = "scontrol -d show job $SLURM_JOB_ID | sed -n 's/^ *Nodes=.*CPU_IDs=\\(\\S*\\).*/step has \\1/p'"
    script = f"srun --numa-align {PROBE}; {look}"
    words = ["salloc", "--quiet", "-n2", "--gpus=2", "bash", "-c", script]
    with allocated(configured, first), allocated(configured, first):
        result = configured.run(words, user="user", cwd="/tmp", timeout=300, check=True)
    (has,) = [line.split()[-1] for line in result.stdout.splitlines() if line.startswith("step has ")]
    ranks = ranks_of(result)
    assert len(ranks) == 2
    for rank in ranks:
        assert_true(rank, configured.topology)
        assert rank.cpus <= set(steps.cpus(has)), (has, rank)
    assert_nobody_shares(ranks)
