"""Which GPUs Slurm shows to which task, and what `numa-align plan` says of it, release by release."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from builder.machine import Machine, on_nodes
from e2e import machines
from machine import Hardware
from numa_align.cpulist import parse_cpulist
from numa_align.placement.shown import Release, shown_closest, shown_each

from native import Native

pytestmark = pytest.mark.native

#: The socket that each GPU is near to. The first ones are not the first task's.
SOCKETS = (1, 1, 0, 1, 0, 0, 1, 0)
TELL = "echo $SLURM_LOCALID $CUDA_VISIBLE_DEVICES $(grep Cpus_allowed_list /proc/self/status)"


@pytest.fixture(scope="module")
def sockets(native: Native) -> Iterator[Native]:
    """Slurm takes the two CPUs of the host for two sockets, and is told which GPU is near to which."""
    if native.topology.cores < 2:
        pytest.skip("needs two cores")
    before = native.topology
    lines = [
        f"NodeName=node1 Name=gpu File={gpu.device} Cores={socket}"
        for gpu, socket in zip(before.gpu_table(), SOCKETS)
    ]
    native.topology = Hardware(packages=2, cores_per_node=1, memory=before.total_memory // 2, gpus=(0,) * 8)
    extra = ("SlurmdParameters=config_overrides",)
    config = replace(native.config, gres_conf="\n".join(lines) + "\n", slurm_extra=extra)
    try:
        with machines.configured(native, config):
            yield native
    finally:
        native.topology = before


def seen(
    native: Native, options: str, inside: str = ""
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """The CPUs that Slurm gave each task, and the GPUs that it showed to it."""
    command = f"{inside}srun {options} sh -c '{TELL}'"
    lines = native.run(command, user="user", check=True).stdout.splitlines()
    lines.sort(key=lambda line: int(line.split()[0]))
    masks = [parse_cpulist(line.split()[-1]) for line in lines]
    return masks, [tuple(int(number) for number in line.split()[1].split(",")) for line in lines]


GPUS = Machine(packages=2, cores=1, gpus=on_nodes(*SOCKETS)).topology().gpus


def release_of(native: Native) -> Release:
    major, minor = native.slurm.split(".")
    return int(major), int(minor)


@pytest.mark.parametrize("each", [1, 2, 4])
def test_a_task_is_shown_its_own_gpus_as_plan_says(sockets: Native, each: int) -> None:
    masks, shown = seen(sockets, f"-n2 --gpus=8 --gpu-bind=per_task:{each}")
    assert shown == shown_each(GPUS, masks, release_of(sockets), each)


def test_tasks_that_share_gpus_are_shown_one_as_plan_says(sockets: Native) -> None:
    masks, shown = seen(sockets, "-n16 -O --gpus=8 --gpu-bind=single:2")
    assert shown == shown_each(GPUS, masks, release_of(sockets))


def test_a_task_is_shown_the_gpus_near_it_as_plan_says(sockets: Native) -> None:
    masks, shown = seen(sockets, "-n2 --gpus=8 --gpu-bind=closest")
    assert shown == shown_closest(GPUS, masks)


def test_a_task_far_from_all_gpus_is_shown_the_first_as_plan_says(sockets: Native) -> None:
    """In an allocation of all, the step has the first two, which are near to the other socket."""
    masks, shown = seen(sockets, "-n2 --gpus=2 --gpu-bind=closest", "salloc -Q -n2 --gpus=8 ")
    assert shown == shown_closest(GPUS[:2], masks)
    assert sorted(shown) == [(0,), (0, 1)]
