"""Where Slurm gives out no GPUs, the user's variable says which are used, by UUID and in the user's order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from e2e import machines
from e2e.steps import PROBE, ranks_of
from machine.slurm import Node

from native import Native

pytestmark = pytest.mark.native


@pytest.fixture(scope="module")
def without_gres(native: Native) -> Iterator[Native]:
    """Slurm knows of no GPU, as where whole nodes are given out."""
    node = Node("node1", "10.11.12.1", native.topology)
    text = native.config.files([node], with_project=True, first_job=90_000)["/etc/slurm/slurm.conf"]
    config = replace(native.config, slurm_conf=machines.without_gres(text), gres_conf="")
    with machines.configured(native, config):
        yield native


def gpus_of_tasks(native: Native, visible: str, count: int) -> list[list[int]]:
    """Minors by task."""
    minors = {gpu.bdf: gpu.minor for gpu in native.topology.gpu_table()}
    command = f"srun --numa-align -n{count} -O {PROBE}"
    result = native.run(command, user="user", env={"CUDA_VISIBLE_DEVICES": visible}, check=True)
    return [
        [minors[bdf] for bdf in rank.environment["NUMA_ALIGN_GPUS"].split(",")] for rank in ranks_of(result)
    ]


def uuids(native: Native, numbers: list[int], length: int = 40) -> str:
    gpus = native.topology.gpu_table()
    return ",".join(gpus[number].uuid[:length] for number in numbers)


@pytest.mark.parametrize("numbers", [[5], [6, 1], [7, 6, 5, 4, 3, 2, 1, 0]], ids=["one", "two", "all"])
def test_each_task_uses_the_gpu_of_its_place_in_the_list(without_gres: Native, numbers: list[int]) -> None:
    found = gpus_of_tasks(without_gres, uuids(without_gres, numbers), len(numbers))
    assert found == [[number] for number in numbers]


def test_the_beginning_of_a_uuid_is_enough(without_gres: Native) -> None:
    assert gpus_of_tasks(without_gres, uuids(without_gres, [6, 1], length=12), 2) == [[6], [1]]


def test_one_task_uses_all_that_the_list_names(without_gres: Native) -> None:
    assert gpus_of_tasks(without_gres, uuids(without_gres, [6, 1]), 1) == [[6, 1]]


@pytest.mark.parametrize("visible", ["GPU-no,GPU-such", "NoDevFiles", ",6", "MIG-6a1f7a52/1/0"])
def test_a_list_that_names_nothing_here_does_not_count(without_gres: Native, visible: str) -> None:
    assert gpus_of_tasks(without_gres, visible, 2) == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(("visible", "minors"), [("6,1", [[6], [1]]), ("6", [[6], [6]])])
def test_numbers_count_by_address_where_slurm_has_none(
    without_gres: Native, visible: str, minors: list[list[int]]
) -> None:
    assert gpus_of_tasks(without_gres, visible, 2) == minors


def test_a_list_of_all_gpus_says_in_which_order_they_count(without_gres: Native) -> None:
    assert gpus_of_tasks(without_gres, "7,6,5,4,3,2,1,0", 8) == [[7], [6], [5], [4], [3], [2], [1], [0]]


@pytest.mark.parametrize("visible", ["", "-1", "-1,0"])
def test_an_empty_list_or_minus_one_shows_no_gpu(without_gres: Native, visible: str) -> None:
    result = without_gres.run(
        f"srun --numa-align -n1 {PROBE}", user="user", env={"CUDA_VISIBLE_DEVICES": visible}, check=True
    )
    (rank,) = ranks_of(result)
    assert rank.environment["NUMA_ALIGN_GPUS"] == ""
    assert rank.environment["NUMA_ALIGN_STATE"] == "aligned"


def test_a_list_ends_at_its_first_invalid_entry(without_gres: Native) -> None:
    visible = f"{uuids(without_gres, [6, 1])},GPU-no-such,{uuids(without_gres, [2])}"
    assert gpus_of_tasks(without_gres, visible, 2) == [[6], [1]]


def test_a_device_that_only_root_may_open_is_not_the_users(without_gres: Native) -> None:
    device = without_gres.topology.gpu_table()[7].device
    without_gres.run(["chmod", "600", device], check=True)
    try:
        result = without_gres.run(f"srun --numa-align -n1 {PROBE}", user="user", check=True)
        (rank,) = ranks_of(result)
        assert len(rank.environment["NUMA_ALIGN_GPUS"].split(",")) == 7
    finally:
        without_gres.run(["chmod", "666", device], check=True)
