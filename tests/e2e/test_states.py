"""Every state but `aligned` is shown with a real allocation, and following its advice gives `aligned`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from machine import EmulatedMachine, Hardware, SlurmConfig

from .machines import booted, configured
from .steps import PROBE, Rank, allocated, ranks_of, warnings_of
from .truth import assert_true

pytestmark = pytest.mark.machine

#: Another job takes the first cores of the node.
FIRST = "--distribution=block:block"


def one(machine: EmulatedMachine, options: str) -> tuple[Rank, str]:
    """The only task of a step and the only warning about it, "" if there is none."""
    result = machine.run(f"srun {options} {PROBE}", user="user", cwd="/tmp", timeout=300, check=True)
    (rank,) = ranks_of(result)
    assert_true(rank, machine.topology)
    (warning,) = warnings_of(result) or [""]
    return rank, warning


def assert_aligned(found: tuple[Rank, str]) -> Rank:
    rank, warning = found
    assert (rank.environment["NUMA_ALIGN_STATE"], warning) == ("aligned", "")
    return rank


@pytest.fixture
def without_cores(machine: EmulatedMachine) -> Iterator[EmulatedMachine]:
    """A gres.conf without Cores=, as deployers write it: GPU and cores are chosen apart."""
    with configured(machine, SlurmConfig(gres_cores=False)):
        yield machine


def test_partial_and_its_advice(without_cores: EmulatedMachine) -> None:
    with allocated(without_cores, f"{FIRST} -n3"):
        # By default a core of another package is left unused; cpus=all takes what Slurm gave.
        assert assert_aligned(one(without_cores, "--numa-align -n1 -c2 --gpus=1")).cpus == {3}
        rank, warning = one(without_cores, "--numa-align=cpus=all -n1 -c2 --gpus=1")
        assert rank.environment["NUMA_ALIGN_STATE"] == "partial"
        assert rank.cpus == {3, 4} and rank.nodes == (0,)
        assert "1 of 2 CPUs" in warning and "--numa-align=cpus=node" in warning
        rank = assert_aligned(one(without_cores, "--numa-align=cpus=node -n1 -c2 --gpus=1"))
        assert rank.cpus == {3}


def test_memory_only_and_its_advice(without_cores: EmulatedMachine) -> None:
    with allocated(without_cores, f"{FIRST} -n4"):
        rank, warning = one(without_cores, "--numa-align -n1 --gpus=1")
        assert rank.environment["NUMA_ALIGN_STATE"] == "memory-only"
        assert rank.cpus == {4} and rank.nodes == (0,)
        assert "--gres-flags=enforce-binding" in warning and "--exclusive" in warning
    assert_aligned(one(without_cores, "--numa-align --exclusive -n1 --gpus=1"))


def test_enforced_binding_is_the_other_half_of_that_advice(machine: EmulatedMachine) -> None:
    with allocated(machine, f"{FIRST} -n4"):
        rank = assert_aligned(one(machine, "--numa-align --gres-flags=enforce-binding -n1 --gpus=1"))
        assert rank.cpus <= {4, 5, 6, 7}


@pytest.fixture
def silent() -> Iterator[EmulatedMachine]:
    """Firmware that says no GPU's node, as most virtual machines do."""
    with booted(Hardware(gpus=(None,) * 4)) as ready:
        yield ready


def test_unaligned_and_its_advice(silent: EmulatedMachine) -> None:
    rank, warning = one(silent, "--numa-align -n1 -c4 --gpus=4")
    assert rank.environment["NUMA_ALIGN_STATE"] == "unaligned"
    first = silent.topology.gpu_table()[0].bdf
    assert f"the NUMA node of GPU {first} is unknown" in warning and "override file" in warning
    entries = "".join(
        f'[[gpu]]\nbdf = "{gpu.bdf}"\nnode = {gpu.index // 2}\n' for gpu in silent.topology.gpu_table()
    )
    silent.put({"/etc/numa-align/override.toml": entries})
    result = silent.run(f"srun --numa-align -n4 --gpus=4 {PROBE}", user="user", cwd="/tmp", timeout=300)
    ranks = ranks_of(result)
    assert [rank.environment["NUMA_ALIGN_STATE"] for rank in ranks] == ["aligned"] * 4, result.transcript()
    assert [rank.nodes for rank in ranks] == [(0,), (0,), (1,), (1,)]
