"""srun --numa-align on real GPUs: the GPU that CUDA opens is the one that the plugin found."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import pytest
from numa_align.cpulist import parse_cpulist
from numa_align.topology.model import Gpu
from numa_align.topology.read import read_here

from gpu.cluster import FOLDER, NOBODY, Cluster
from gpu.tasks import Task, train, uuids


def placed(task: Task) -> None:
    """True for every aligned task: the kernel reports the same as the plugin."""
    assert task.state == "aligned"
    assert task.cpus == set(parse_cpulist(task.environment["NUMA_ALIGN_CPUS"]))
    assert all(cpus <= task.cpus for cpus in (*task.threads, *task.workers))
    nodes = read_here().nodes
    near = [node for node in nodes if set(node.cpus) & task.cpus]
    assert task.cpus <= {cpu for node in near for cpu in node.cpus}
    assert task.mode == "preferred-many"
    assert set(task.nodes) == {node.id for node in near}
    assert task.loss[1] < task.loss[0]


def apart(tasks: Sequence[Task]) -> None:
    assert len({task.used for task in tasks}) == len(tasks)
    assert not frozenset.intersection(*(task.cpus for task in tasks))


def test_one_task_has_its_gpu(cluster: Cluster) -> None:
    (task,) = train(cluster, "srun --numa-align -n1 -c4 --gpus=1")
    placed(task)
    assert task.visible == (task.used,) == uuids(task.bdfs)
    assert len(task.may_open) == 1
    assert len(task.cpus) == 4
    assert len(task.workers) == 2


@pytest.mark.gpus(2)
def test_gpus_per_task_are_recognised_by_the_device_cgroup(cluster: Cluster) -> None:
    tasks = train(cluster, "srun --numa-align -n2 -c4 --gpus-per-task=1")
    assert len(tasks) == 2
    assert {task.environment["CUDA_VISIBLE_DEVICES"] for task in tasks} == {"0"}
    for task in tasks:
        placed(task)
        assert task.visible == (task.used,) == uuids(task.bdfs)
    apart(tasks)


@pytest.mark.gpus(2)
def test_tasks_that_see_both_gpus_have_the_one_of_their_local_id(cluster: Cluster) -> None:
    tasks = train(cluster, "srun --numa-align -n2 -c4 --gpus=2")
    assert len(tasks) == 2
    for task in tasks:
        placed(task)
        assert len(task.visible) == 2
        assert (task.used,) == uuids(task.bdfs)
    apart(tasks)


@pytest.mark.gpus(2)
def test_one_task_with_two_gpus_has_a_slice_for_each(cluster: Cluster) -> None:
    (task,) = train(cluster, "srun --numa-align -n1 -c8 --gpus=2")
    placed(task)
    assert task.visible == uuids(task.bdfs)
    entries = [entry.partition("=") for entry in task.environment["NUMA_ALIGN_MAP"].split(";")]
    assert tuple(bdf for bdf, _, _ in entries) == task.bdfs
    slices = [set(parse_cpulist(rest.partition("@")[0])) for _, _, rest in entries]
    assert set.union(*slices) == task.cpus and not set.intersection(*slices)


@pytest.mark.gpus(2)
def test_the_second_job_on_the_node_has_the_second_gpu(cluster: Cluster, gpus: tuple[Gpu, ...]) -> None:
    """Both see CUDA_VISIBLE_DEVICES=0; the second job's GPU is a different one nevertheless."""
    first = cluster.start(f"srun -n1 --gpus=1 {sys.executable} -c 'import time; time.sleep(60)'", user=NOBODY)
    try:
        cluster.await_jobs(1)
        (task,) = train(cluster, "srun --numa-align -n1 -c4 --gpus=1")
        placed(task)
        assert task.visible == uuids(task.bdfs)
        assert task.bdfs == (gpus[1].bdf,)
    finally:
        first.terminate()
        first.wait(30)
        cluster.await_jobs(0)


def test_doctor_finds_nothing_that_fails(cluster: Cluster) -> None:
    """The generated configuration against the real device files, cgroups and slurmd's own view."""
    done = cluster.run(f"numa-align doctor --json --node-name=node1 --slurm-conf={FOLDER}/slurm.conf")
    print(done.stdout, done.stderr)
    assert done.returncode in (0, 1)
    findings = json.loads(done.stdout)["findings"]
    assert findings
    assert not [finding for finding in findings if finding["status"] == "fail"]


def test_slurm_s_index_of_each_gpu_is_known(cluster: Cluster, gpus: tuple[Gpu, ...]) -> None:
    """From the generated gres.conf; where devices are not constrained nothing else tells GPUs apart."""
    done = cluster.run(f"numa-align topo --json --node-name=node1 --gres-conf={FOLDER}/gres.conf", check=True)
    found = {gpu["bdf"]: gpu["index"] for gpu in json.loads(done.stdout)["gpus"]}
    assert found == {gpu.bdf: number for number, gpu in enumerate(gpus)}


def test_check_in_the_task_has_the_kernel_s_word_for_it(cluster: Cluster, gpus: tuple[Gpu, ...]) -> None:
    done = cluster.run("srun --numa-align -n1 -c4 --gpus=1 numa-align check --json", user=NOBODY, check=True)
    said = json.loads(done.stdout)
    assert said["state"] == "aligned"
    assert said["gpus"][0]["bdf"] in {gpu.bdf for gpu in gpus}


def test_without_the_option_slurm_s_own_placement_stands(cluster: Cluster) -> None:
    (task,) = train(cluster, "srun -n1 -c4 --gpus=1")
    assert task.state == "not set"
    assert task.mode == "default"
