"""What `run --gpus` sets so that the program opens the GPUs that were named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

import pytest
from builder import Device, Machine, on_nodes
from numa_align.errors import RequestError
from numa_align.placement.expose import expose
from numa_align.topology.model import Topology

PLAIN = Machine(packages=2, cores=8, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1)).topology()
NAMED = Machine(
    cores=8, gpus=[Device(uuid=f"GPU-{n}{n}{n}{n}{n}{n}{n}{n}-0000") for n in range(4)]
).topology()
AMD = Machine(cores=8, gpus=on_nodes(0, 0, 0, vendor=0x1002, class_code=0x038000, driver="amdgpu")).topology()
ALLOCATION = {"SLURM_JOB_ID": "7"}


def shown(
    topology: Topology,
    *positions: int,
    env: Optional[Mapping[str, str]] = None,
    closed: tuple[int, ...] = (),
) -> dict[str, str]:
    gpus = topology.gpus
    devices = {gpus[position].device for position in closed}
    return expose(gpus, [gpus[p] for p in positions], env or {}, lambda device: device not in devices)


def test_by_uuid_where_there_is_one() -> None:
    assert shown(NAMED, 1, 3) == {"CUDA_VISIBLE_DEVICES": "GPU-11111111-0000,GPU-33333333-0000"}


def test_else_by_number_in_the_order_of_addresses() -> None:
    assert shown(PLAIN, 5) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "5"}


def test_numbers_count_what_can_be_opened() -> None:
    assert shown(PLAIN, 5, closed=(0, 2))["CUDA_VISIBLE_DEVICES"] == "3"
    with pytest.raises(RequestError, match="cannot be opened, so it cannot be made visible"):
        shown(PLAIN, 5, closed=(5,))


def test_other_vendors_have_their_own_variable() -> None:
    assert shown(AMD, 1) == {"ROCR_VISIBLE_DEVICES": "1"}


def test_inside_an_allocation_nothing_is_set() -> None:
    assert shown(PLAIN, 5, env=ALLOCATION) == {}
    assert shown(PLAIN, 5, env={**ALLOCATION, "CUDA_VISIBLE_DEVICES": "4,5"}) == {}
    with pytest.raises(RequestError, match=r"shows the program other GPUs than --gpus"):
        shown(PLAIN, 5, env={**ALLOCATION, "CUDA_VISIBLE_DEVICES": "0,1"})


@pytest.mark.parametrize("value", ["0", "0,1,2,3,4,5,6,7", "5,6"])
def test_a_variable_that_names_others_is_an_error_in_a_line(value: str) -> None:
    with pytest.raises(RequestError, match="--leave-visible") as raised:
        shown(PLAIN, 5, env={"CUDA_VISIBLE_DEVICES": value})
    assert f"CUDA_VISIBLE_DEVICES is {value!r}" in str(raised.value) and "\n" not in str(raised.value)


def test_who_says_the_same_twice_is_right() -> None:
    assert shown(PLAIN, 5, env={"CUDA_VISIBLE_DEVICES": "5"}) == {}
    assert shown(NAMED, 1, env={"CUDA_VISIBLE_DEVICES": "GPU-11111111"}) == {}
