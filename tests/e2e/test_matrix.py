"""Slurm versions, configurations, machines and ways of starting work: every cell judged by the kernel.

One boot serves all cells of a version and machine. `make test` has the short form, with one Slurm in full;
the marker `matrix` has the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from machine import Machine, SlurmConfig, Topology

from . import steps
from .steps import PROBE, Rank, ranks_of, warnings_of
from .truth import assert_all_aligned, assert_nobody_shares, assert_true

pytestmark = pytest.mark.machine

ROOT = Path(__file__).resolve().parents[2]
TWO = Topology()

#: What a stock configuration varies; the plain one is first.
CONFIGS = {
    "stock": SlurmConfig(),
    "devices open": SlurmConfig(constrain_devices=False),
    "cores open": SlurmConfig(constrain_cores=False),
    "all open": SlurmConfig(constrain_cores=False, constrain_devices=False),
    "no affinity": SlurmConfig(task_plugin="task/cgroup"),
    "no Cores": SlurmConfig(gres_cores=False),
}


@dataclass(frozen=True)
class Shape:
    """A way of starting work on the two-node machine; all its tasks must come out aligned and apart."""

    command: str
    tasks: int
    version: str = "22.05"  # the first that has it
    apart: bool = True


#: {ask} is the option and {probe} the program; scripts see them as $ASK and $PROBE.
SHAPES = {
    "a GPU a task": Shape("srun {ask} -n8 --gpus=8 {probe}", 8),
    "fewer tasks": Shape("srun {ask} -n2 -c4 --gpus=8 {probe}", 2),
    "uneven tasks": Shape("srun {ask} -n3 -c2 --gpus=8 --exclusive {probe}", 3, apart=False),
    "more tasks": Shape("srun {ask} -n8 --gpus=4 --exclusive {probe}", 8),
    "gpus-per-task": Shape("srun {ask} -n8 --gpus-per-task=1 {probe}", 8),
    "ntasks-per-gpu": Shape("srun {ask} --ntasks-per-gpu=1 --gpus=8 {probe}", 8),
    "gpu-bind=none": Shape("srun {ask} -n8 --gpus=8 --gpu-bind=none {probe}", 8),
    "gpu-bind=single": Shape("srun {ask} -n8 --gpus=8 --gpu-bind=single:1 {probe}", 8),
    "gpu-bind=map": Shape("srun {ask} -n8 --gpus=8 --gpu-bind=map_gpu:7,6,5,4,3,2,1,0 {probe}", 8),
    "gpu-bind=mask": Shape("srun {ask} -n2 -c4 --gpus=8 --gpu-bind=mask_gpu:0x0f,0xf0 {probe}", 2),
    "gpu-bind=closest": Shape("srun {ask} -n8 --gpus=8 --gpu-bind=closest {probe}", 8),
    "tres-per-task": Shape("srun {ask} -n8 --tres-per-task=gres/gpu:1 {probe}", 8, version="24.11"),
    "allow-task-sharing": Shape(
        "srun {ask} -n8 --gpus-per-task=1 --gres-flags=allow-task-sharing {probe}", 8, version="24.11"
    ),
    "salloc": Shape("salloc --quiet {ask} -n8 --gpus=8 srun {probe}", 8),
    "two steps at once": Shape(
        "salloc --quiet -n8 --gpus=8 bash -c 'for i in 1 2; do"
        " srun {ask} --exact -n4 --gpus=4 --mem=100 {probe} & done; wait'",
        8,
        apart=False,
    ),
    "without GPUs": Shape("srun {ask} -n8 --exclusive --gres=none {probe}", 8),
    "a batch script itself": Shape(
        "sbatch --quiet --wait {ask} -n1 -c8 --gpus=8 -o /tmp/cell.out --wrap '{probe}'; cat /tmp/cell.out", 1
    ),
    "a step of a script": Shape(
        "sbatch --quiet --wait {ask} -n8 --gpus=8 -o /tmp/cell.out --wrap 'srun {probe}'; cat /tmp/cell.out",
        8,
    ),
    "an array": Shape(
        "rm -f /tmp/cell.*; sbatch --quiet --wait {ask} --array=0-1 -n4 --gpus=4 -o /tmp/cell.%a"
        " --wrap 'srun {probe}'; cat /tmp/cell.*",
        8,
        apart=False,
    ),
}
SHORT = ("a GPU a task", "gpus-per-task", "gpu-bind=closest", "a step of a script", "two steps at once")


@dataclass(frozen=True)
class Boot:
    slurm: str
    cgroup: int = 2
    topology: Topology = TWO


BOOTS = {
    "22.05": Boot("22.05"),
    "22.05 cgroup v1": Boot("22.05", cgroup=1),
    "24.11": Boot("24.11"),
    "26.05": Boot("26.05"),
}


@pytest.fixture(scope="module", params=BOOTS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Machine]:
    boot = BOOTS[request.param]
    with Machine(boot.topology, boot.slurm, cgroup=boot.cgroup, project=ROOT) as booted:
        booted.copy_in(steps.PROBE_FILE, "/opt/probe.py")
        yield booted


def run_shape(machine: Machine, shape: Shape) -> list[Rank]:
    command = shape.command.format(ask="--numa-align", probe=PROBE)
    result = machine.run(command, user="user", cwd="/tmp", timeout=300, check=True)
    return ranks_of(result)


def check_shape(machine: Machine, name: str) -> None:
    shape = SHAPES[name]
    if machine.slurm < shape.version:
        pytest.skip(f"Slurm {shape.version} and later")
    ranks = run_shape(machine, shape)
    assert_all_aligned(ranks, machine.topology, shape.tasks)
    if shape.apart:
        assert_nobody_shares(ranks)


def is_short(boot: str) -> bool:
    return boot in ("22.05", "26.05")


def cells() -> Iterator[object]:
    """The short form of the older and the newer Slurm is for `make test`; the rest for the matrix."""
    for boot in BOOTS:
        for name in SHAPES:
            marks = () if is_short(boot) and name in SHORT else pytest.mark.matrix
            yield pytest.param(boot, name, marks=marks, id=f"{boot}-{name}")


@pytest.mark.parametrize(("cluster", "name"), list(cells()), indirect=["cluster"])
def test_every_way_of_starting_work_is_aligned(cluster: Machine, name: str) -> None:
    check_shape(cluster, name)


@pytest.fixture(params=list(CONFIGS)[1:])
def configured(request: pytest.FixtureRequest, cluster: Machine) -> Iterator[Machine]:
    before = cluster.config
    cluster.configure(CONFIGS[request.param])
    yield cluster
    cluster.configure(before)


@pytest.mark.matrix
def test_every_configuration_aligns_or_says_why_and_stays_inside_the_step(configured: Machine) -> None:
    for options, count in (("-n8 --gpus=8", 8), ("-n8 --gpus-per-task=1", 8), ("-n2 --gpus=2", 2)):
        inside = f"srun {options} bash -c 'grep Cpus_allowed_list /proc/self/status'"
        plain = configured.run(inside, user="user", timeout=300, check=True).stdout.split()[1::2]
        result = configured.run(
            f"srun --numa-align {options} {PROBE}", user="user", timeout=300, check=True, cwd="/tmp"
        )
        ranks = ranks_of(result)
        assert len(ranks) == count == len(plain)
        for rank in ranks:
            if configured.config.constrain_devices:
                assert_true(rank, configured.topology)
            assert rank.cpus, rank
        if not configured.config.constrain_cores and count == 2:
            # Two cores were allocated: whoever sees more CPUs must not take them.
            assert len(frozenset().union(*(rank.cpus for rank in ranks))) <= 2, (plain, ranks)


@pytest.mark.matrix
@pytest.mark.parametrize("cluster", ["24.11"], indirect=True)
def test_the_advice_of_a_state_followed_makes_the_job_aligned(cluster: Machine) -> None:
    """A job on the half that is left beside another: its CPUs are all on the other node than its GPUs."""
    held = cluster.run("salloc --no-shell -n4 --gpus=0 --exclusive=user -w node1", user="user", timeout=120)
    number = held.stderr.rpartition("job allocation ")[2].split()[0]
    try:
        step = f"--gres-flags=disable-binding -n1 -c2 --gpus=8 {PROBE}"
        result = cluster.run(f"srun --numa-align {step}", user="user", timeout=120, check=True)
        (rank,) = ranks_of(result)
        assert_true(rank, cluster.topology)
        assert rank.environment["NUMA_ALIGN_STATE"] != "aligned"
        (warning,) = warnings_of(result)
        assert "--exclusive" in warning or "cpus=node" in warning or "enforce-binding" in warning
    finally:
        cluster.run(f"scancel {number}", check=True)
        cluster.settle()
    result = cluster.run(f"srun --numa-align --exclusive -n1 -c8 --gpus=8 {PROBE}", user="user", timeout=120)
    assert ranks_of(result)[0].environment["NUMA_ALIGN_STATE"] == "aligned"
