"""What depends on several NUMA nodes, on a host with one: the table says that its two CPUs are two nodes.

The plugin trusts the table, which root wrote; the kernel is the judge of CPUs here as everywhere, and
of memory in tests/e2e.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from builder.machine import Machine, on_nodes
from e2e.steps import PROBE, allocated, ranks_of
from numa_align.placement.table import format_table
from numa_align.topology.model import Topology

from native import Native

pytestmark = pytest.mark.native

ADVISED = 'put "numa-align run" before the program'


def two_nodes(native: Native) -> Topology:
    """GPUs 0-3 near to CPU 0, GPUs 4-7 near to CPU 1, with the device files that are there."""
    topology = Machine(packages=2, cores=1, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1)).topology()
    gpus = tuple(
        gpu._replace(bdf=real.bdf, device=real.device, minor=real.minor, uuid=real.uuid, index=number)
        for number, (gpu, real) in enumerate(zip(topology.gpus, native.topology.gpu_table()))
    )
    return topology._replace(gpus=gpus)


@pytest.fixture
def job(native: Native) -> Iterator[str]:
    """A job of the whole node, whose table says that it has two NUMA nodes."""
    if native.topology.cores * native.topology.threads < 2:
        pytest.skip("needs two CPUs")
    with allocated(native, "-n2 --gpus=8") as number:
        path = f"/run/numa-align/{number}"
        boot = native.run("cat /proc/sys/kernel/random/boot_id", check=True).stdout.strip()
        text = format_table(two_nodes(native), int(number), boot=boot, job_gpus=range(8))
        native.put({path: text})
        yield number


@pytest.mark.parametrize(
    ("options", "advised"),
    [
        ("-n1 -c2 --gpus=8 --numa-align true", True),
        ("-n1 -c2 --gpus=8 --numa-align numa-align run true", False),
        ("-n1 -c1 --gpus=1 --numa-align true", False),
        ("-n2 --gpus=8 --numa-align true", False),
        ("-n1 -c2 --gpus=8 true", False),
    ],
)
def test_one_task_with_gpus_on_several_nodes_is_told_once(
    native: Native, job: str, options: str, advised: bool
) -> None:
    """The usual command: `srun -n1 --gpus=8 torchrun`, whose workers are not placed."""
    result = native.run(f"srun --jobid={job} --overlap {options}", user="user", check=True)
    assert result.stderr.count(ADVISED) == advised, result.stderr


@pytest.mark.parametrize(
    "bind", ["mask_gpu:0xf0,0xff", "mask_gpu:0xff,0x10", "mask_gpu:0x80,0x0f", "closest", "per_task:4"]
)
def test_no_core_has_two_tasks_whatever_each_sees(native: Native, job: str, bind: str) -> None:
    """With two CPUs no task may have that of the other, wherever its GPUs are."""
    command = f"srun --jobid={job} --overlap --numa-align -n2 --gpus=8 --gpu-bind={bind} {PROBE}"
    first, second = ranks_of(native.run(command, user="user", check=True))
    assert len(first.cpus) == len(second.cpus) == 1
    assert first.cpus != second.cpus


def test_a_task_is_moved_to_the_cpu_near_its_gpu(native: Native, job: str) -> None:
    command = f"srun --jobid={job} --overlap --numa-align -n2 --gpus=8 --gpu-bind=map_gpu:7,0 {PROBE}"
    first, second = ranks_of(native.run(command, user="user", check=True))
    assert (set(first.cpus), set(second.cpus)) == ({1}, {0})
    assert {rank.environment["NUMA_ALIGN_STATE"] for rank in (first, second)} == {"aligned"}
