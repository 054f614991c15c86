"""Ways of starting work that are new in Slurm 26.05."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from e2e import machines
from e2e.steps import PROBE, Rank, ranks_of

from native import Native

pytestmark = pytest.mark.native


@pytest.fixture
def newest(native: Native) -> Native:
    if native.slurm < "26.05":
        pytest.skip("Slurm 26.05 and later")
    return native


def minors(native: Native, rank: Rank) -> list[int]:
    known = {gpu.bdf: gpu.minor for gpu in native.topology.gpu_table()}
    return [known[bdf] for bdf in rank.environment["NUMA_ALIGN_GPUS"].split(",")]


def test_tasks_that_may_open_all_gpus_are_told_apart_by_a_map(newest: Native) -> None:
    options = "-n2 --gpus=8 --gpu-bind=map:7,2 --gres-flags=allow-task-sharing"
    ranks = ranks_of(newest.run(f"srun --numa-align {options} {PROBE}", user="user", check=True))
    assert [minors(newest, rank) for rank in ranks] == [[7], [2]]
    assert {rank.environment["NUMA_ALIGN_STATE"] for rank in ranks} == {"aligned"}
    assert not ranks[0].cpus & ranks[1].cpus


def test_an_asynchronous_step_is_aligned_like_any_other(newest: Native) -> None:
    step = f"srun --async --numa-align -n2 --gpus=8 -o /tmp/async.out {PROBE}"
    wait = "for i in $(seq 300); do [ $(wc -l < /tmp/async.out) = 2 ] && break; sleep 0.1; done"
    script = f"#!/bin/bash\n{step}\n{wait}\n"
    config = replace(newest.config, slurm_extra=("SlurmctldParameters=enable_stepmgr",))
    with machines.configured(newest, config):
        newest.run("rm -f /tmp/async.out", check=True)
        submit = "sbatch --wait --stepmgr -n2 --gpus=8 -o /tmp/async.log"
        newest.run(submit, user="user", stdin=script, check=True)
        ranks = ranks_of(newest.run("cat /tmp/async.out", check=True))
    assert [rank.environment["NUMA_ALIGN_STATE"] for rank in ranks] == ["aligned", "aligned"]
    assert not ranks[0].cpus & ranks[1].cpus


@pytest.fixture
def by_uuid(newest: Native) -> Iterator[Native]:
    """Slurm finds the GPUs by the files of NVIDIA's driver, and shows tasks their UUIDs."""
    drivers, gpus = "/sys/bus/pci/drivers", newest.topology.gpu_table()
    newest.run(f"mount -t tmpfs none {drivers}", check=True)  # the fake driver has no place in sysfs yet
    try:
        newest.run(["mkdir", "-p", *(f"{drivers}/nvidia/{gpu.bdf}" for gpu in gpus)], check=True)
        newest.put({f"{drivers}/nvidia/{gpu.bdf}/local_cpulist": "0-1\n" for gpu in gpus})
        gres = "AutoDetect=nvidia\nNodeName=node1 Name=gpu Flags=env_uuid\n"
        with machines.configured(newest, replace(newest.config, gres_conf=gres)):
            yield newest
    finally:
        newest.run(f"umount {drivers}", check=True)


@pytest.mark.parametrize(
    ("options", "shown", "used"),
    [
        ("-n2 -O --gpus=2", [[0, 1], [0, 1]], [[0], [1]]),
        ("-n1 --gpus=3", [[0, 1, 2]], [[0, 1, 2]]),
        ("-n2 --gpus-per-task=1", [[0], [1]], [[0], [1]]),
        ("-n2 --gpus=8 --gpu-bind=map:7,2", [[7], [2]], [[7], [2]]),
        ("-n2 --gpus=8 --gpu-bind=map:7,2 --gres-flags=allow-task-sharing", [[7], [2]], [[7], [2]]),
    ],
)
def test_gpus_that_slurm_shows_by_uuid_are_each_tasks(
    by_uuid: Native, options: str, shown: list[list[int]], used: list[list[int]]
) -> None:
    words = "echo $SLURM_PROCID $CUDA_VISIBLE_DEVICES $NUMA_ALIGN_GPUS $NUMA_ALIGN_STATE"
    command = ["srun", "--numa-align", *options.split(), "sh", "-c", words]
    lines = sorted(by_uuid.run(command, user="user", check=True).stdout.splitlines())
    table = by_uuid.topology.gpu_table()
    for task, line in enumerate(lines):
        uuids = ",".join(table[gpu].uuid for gpu in shown[task])
        bdfs = ",".join(table[gpu].bdf for gpu in used[task])
        assert line == f"{task} {uuids} {bdfs} aligned"
    assert len(lines) == len(shown)
