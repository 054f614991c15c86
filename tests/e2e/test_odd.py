"""What tasks get on machines other than the usual two nodes, as the kernel reports it.

Each machine is booted once for a Slurm. `make test` has most of them with one Slurm, a minute each; `matrix`
marks the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Optional

import pytest
from machine import EmulatedMachine, Hardware, SlurmConfig

from . import machines
from .steps import PROBE, Rank, ranks_of, warnings_of
from .truth import assert_nobody_shares, assert_true, named_gpus

pytestmark = pytest.mark.machine

VERSIONS = ("24.11", "22.05", "26.05")


@dataclass(frozen=True)
class Odd:
    """A machine; the states of the tasks of `--gpus=N`, of `--gpus-per-task=1` and of one task with all."""

    topology: Hardware
    states: tuple[str, str, str] = ("aligned", "aligned", "aligned")
    config: SlurmConfig = field(default_factory=SlurmConfig)
    everyday: bool = True


#: Slurm counts GPUs as gres.conf names them: its index 0 is minor 4.
INDEX_IS_NOT_MINOR = "".join(
    f"NodeName=node1 Name=gpu File=/dev/nvidia{minor} Cores={'0-3' if minor < 4 else '4-7'}\n"
    for minor in (4, 5, 6, 7, 0, 1, 2, 3)
)
ODD = {
    "SMT": Odd(Hardware(cores_per_node=2, threads=2, gpus=(0, 0, 1, 1))),
    # One core of each task is on a neighbouring node, which has no GPU and belongs to no other task.
    "NPS": Odd(Hardware(packages=2, nodes_per_package=2, cores_per_node=2, memory=512, gpus=(1, 1, 3, 3))),
    "node without memory": Odd(Hardware(memory=(1536, 0), gpus=(0, 0, 1, 1)), everyday=False),
    "one package, GPUs at -1": Odd(Hardware(packages=1, memory=1536, gpus=(None,) * 4), everyday=False),
    "two nodes, GPUs at -1": Odd(Hardware(gpus=(None,) * 4), states=("unaligned", "unaligned", "unaligned")),
    "minors out of order": Odd(Hardware(gpus=(1, 0, 1, 1, 0, 0, 1, 0), minors=(5, 2, 7, 0, 1, 6, 3, 4))),
    "index is not minor": Odd(Hardware(), config=SlurmConfig(gres_conf=INDEX_IS_NOT_MINOR)),
}


@dataclass(frozen=True)
class Booted:
    odd: Odd
    machine: EmulatedMachine


def cells() -> Iterator[object]:
    for version in VERSIONS:
        for name, odd in ODD.items():
            everyday = version == VERSIONS[0] and odd.everyday
            marks = () if everyday else pytest.mark.matrix
            yield pytest.param((version, name), marks=marks, id=f"{version}-{name}")


@pytest.fixture(scope="module", params=list(cells()))
def booted(request: pytest.FixtureRequest) -> Iterator[Booted]:
    version, name = request.param
    odd = ODD[name]
    with machines.booted(odd.topology, version, config=odd.config) as machine:
        yield Booted(odd, machine)


def run(booted: Booted, options: str, state: Optional[str] = None) -> list[Rank]:
    """The tasks of a step, all verified to be in this state, which they also report.

    If it is not `aligned`, one warning says more.
    """
    command = f"srun --numa-align {options} {PROBE}"
    result = booted.machine.run(command, user="user", cwd="/tmp", timeout=300, check=True)
    ranks = ranks_of(result)
    states = {rank.environment["NUMA_ALIGN_STATE"] for rank in ranks}
    for rank in ranks:
        assert_true(rank, booted.machine.topology)
    assert state is None or states == {state}, result.transcript()
    assert len(warnings_of(result)) == (0 if states == {"aligned"} else 1), result.transcript()
    return ranks


def minors_of(ranks: list[Rank], topology: Hardware) -> list[list[int]]:
    """Of the GPUs that each task is said to use."""
    return [[gpu.minor for gpu in named_gpus(rank, topology)] for rank in ranks]


def assert_whole_cores(ranks: list[Rank], topology: Hardware) -> None:
    for rank in ranks:
        cores = {cpu // topology.threads for cpu in rank.cpus}
        assert len(rank.cpus) == len(cores) * topology.threads, rank


def assert_in_the_package(ranks: list[Rank], topology: Hardware) -> None:
    """No core of another package than the GPUs'."""
    size = topology.nodes_per_package * topology.cores_per_node * topology.threads
    for rank in ranks:
        homes = {
            gpu.node // topology.nodes_per_package
            for gpu in named_gpus(rank, topology)
            if gpu.node is not None
        }
        assert not homes or {cpu // size for cpu in rank.cpus} <= homes, rank


def test_every_task_has_what_its_machine_can_give(booted: Booted) -> None:
    topology = booted.machine.topology
    in_order = [gpu.minor for gpu in topology.gpu_table()]  # CUDA counts what it may open by PCI address
    count, each = len(in_order), topology.cpus // len(in_order)
    shared, own, alone = booted.odd.states
    ranks = run(booted, f"-n{count} -c{each} --gpus={count}", shared)
    assert_nobody_shares(ranks)
    assert_whole_cores(ranks, topology)
    assert_in_the_package(ranks, topology)
    assert minors_of(ranks, topology) == [[minor] for minor in in_order]
    ranks = run(booted, f"-n{count} -c{each} --gpus-per-task=1", own)
    assert_nobody_shares(ranks)
    assert minors_of(ranks, topology) == [list(rank.gpus) for rank in ranks]
    assert len({rank.gpus for rank in ranks}) == count
    ranks = run(booted, f"-n2 -c{each} --gpus=2")
    used = [minor for minor in in_order if minor in ranks[0].gpus]
    assert minors_of(ranks, topology) == [[minor] for minor in used] and len(used) == 2
    (rank,) = run(booted, f"-n1 -c{topology.cpus} --gpus={count}", alone)
    assert len(rank.cpus) == topology.cpus


@pytest.mark.parametrize("booted", [("24.11", "NPS")], indirect=True, ids=["24.11-NPS"])
def test_nodes_without_gpus_are_local_except_with_cpus_node(booted: Booted) -> None:
    result = booted.machine.run(
        f"srun --numa-align=verbose -n4 -c2 --gpus=4 {PROBE}", user="user", cwd="/tmp"
    )
    assert result.stderr.count("(1 on the nodes of its GPUs, 1 beside)") == 4, result.transcript()
    assert {rank.environment["NUMA_ALIGN_STATE"] for rank in ranks_of(result)} == {"aligned"}
    result = booted.machine.run(
        f"srun --numa-align=cpus=node -n4 -c2 --gpus=4 {PROBE}", user="user", cwd="/tmp"
    )
    assert warnings_of(result) == []
    for rank in ranks_of(result):
        assert_true(rank, booted.machine.topology)
        assert rank.environment["NUMA_ALIGN_STATE"] == "aligned" and len(rank.cpus) == 2, rank
