"""Ways of getting a GPU that need a configuration or a machine of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest
from machine import Cluster, EmulatedMachine, Hardware, SlurmConfig

from . import machines, steps
from .machines import ROOT
from .steps import PROBE, Rank, ranks_of
from .truth import assert_all_aligned, assert_nobody_shares, named_gpus

pytestmark = pytest.mark.machine

INTERACTIVE = SlurmConfig(
    slurm_extra=(
        "LaunchParameters=use_interactive_step",
        # Without --pty, which wants a terminal.
        'InteractiveStepOptions="--interactive --preserve-env /bin/bash"',
    )
)
#: Two of each GPU's parts; the last Gres= of a line is the one that counts.
SHARDS = SlurmConfig(
    slurm_extra=("GresTypes=gpu,shard",),
    gres_extra=("NodeName=node1 Name=shard Count=16",),
    node_extra="Gres=gpu:8,shard:16",
)


@pytest.fixture
def configured(request: pytest.FixtureRequest, machine: EmulatedMachine) -> Iterator[EmulatedMachine]:
    with machines.configured(machine, request.param):
        yield machine


@pytest.mark.parametrize("configured", [INTERACTIVE], indirect=True)
def test_an_interactive_step_and_the_steps_in_it_are_aligned(configured: EmulatedMachine) -> None:
    """What is typed into salloc runs in a step of its own, that of the shell."""
    words = "salloc --quiet --numa-align -n4 --gpus=4"  # no command: that is what starts the shell's step
    typed = f"{PROBE}\nsrun {PROBE}\n"
    result = configured.run(words, user="user", cwd="/tmp", stdin=typed, timeout=300, check=True)
    ranks = ranks_of(result)
    assert_all_aligned(ranks, configured.topology, 5)
    assert len({rank.cpus for rank in ranks}) == 5, "the shell has the cores of its four tasks together"


@pytest.mark.parametrize("configured", [SHARDS], indirect=True)
def test_a_task_with_a_part_of_a_gpu_is_on_that_gpus_node(configured: EmulatedMachine) -> None:
    ranks = steps.step(configured, f"srun --numa-align -n1 -c8 --gres=shard:1 {PROBE}")
    assert_all_aligned(ranks, configured.topology, 1)
    assert [gpu.minor for gpu in named_gpus(ranks[0], configured.topology)] == list(ranks[0].gpus)


@pytest.fixture
def without_gres(machine: EmulatedMachine) -> Iterator[EmulatedMachine]:
    """A site that gives out whole nodes and tells Slurm of no GPU: there is only the user's variable."""
    text = SlurmConfig().files([machine.node], with_project=True)["/etc/slurm/slurm.conf"]
    config = SlurmConfig(constrain_devices=False, slurm_conf=machines.without_gres(text), gres_conf="")
    with machines.configured(machine, config):
        yield machine


def test_gpus_that_the_user_names_by_uuid_are_each_tasks(without_gres: EmulatedMachine) -> None:
    """In the user's order, as CUDA counts them. tests/native has more lists."""
    gpus = without_gres.topology.gpu_table()
    for numbers in ([6, 1], [7, 6, 5, 4, 3, 2, 1, 0]):
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(gpus[number].uuid for number in numbers)}
        command = f"srun --numa-align -n{len(numbers)} -c{8 // len(numbers)} {PROBE}"
        ranks = steps.step(without_gres, command, env=visible)
        found = [[gpu.minor for gpu in named_gpus(rank, without_gres.topology)] for rank in ranks]
        assert found == [[number] for number in numbers]
        assert_all_aligned(ranks, without_gres.topology, len(numbers))
        assert_nobody_shares(ranks)


#: GPUs 0-1 are on node 1 of the first and on node 0 of the second.
UNLIKE = (
    Hardware(cores_per_node=2, memory=640, gpus=(1, 1, 0, 0)),
    Hardware(cores_per_node=2, threads=2, memory=640, gpus=(0, 0, 1, 1)),
)


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    with Cluster(UNLIKE, project=ROOT) as cluster:
        for machine in cluster.machines:
            steps.put_probe(machine)
        yield cluster


def on_both(cluster: Cluster) -> list[Rank]:
    """Four tasks per machine, those of the first machine first."""
    command = f"cd /tmp; srun --numa-align -N2 --ntasks-per-node=4 --gpus-per-node=4 {PROBE}"
    ranks = ranks_of(cluster.run(command, user="user", timeout=300, check=True))
    assert len(ranks) == 8
    return ranks


def assert_half_is_aligned(ranks: Sequence[Rank], topology: Hardware) -> None:
    assert_all_aligned(ranks, topology, 4)
    assert_nobody_shares(ranks)
    assert [rank.nodes for rank in ranks] == [(gpu.node,) for gpu in topology.gpu_table()]


@pytest.mark.matrix
def test_a_job_on_two_unlike_machines_is_aligned_on_both(two: Cluster) -> None:
    ranks = on_both(two)
    assert_half_is_aligned(ranks[:4], UNLIKE[0])
    assert_half_is_aligned(ranks[4:], UNLIKE[1])


@pytest.mark.matrix
def test_both_parts_of_a_heterogeneous_job_are_aligned(two: Cluster) -> None:
    """Slurm puts them on different nodes; each is a step of its own job, and has a table of its own."""
    part = f"--numa-align -N1 -n4 --gpus=4 {PROBE}"
    result = two.run(f"cd /tmp; srun -w node1 {part} : -w node2 {part}", user="user", timeout=300, check=True)
    ranks = ranks_of(result)
    assert len(ranks) == 8
    assert_half_is_aligned(ranks[:4], UNLIKE[0])
    assert_half_is_aligned(ranks[4:], UNLIKE[1])


@pytest.mark.matrix
def test_a_running_job_is_seen_on_both_machines(two: Cluster) -> None:
    options = "--numa-align -N2 --ntasks-per-node=4 --gpus-per-node=4 -o /dev/null"
    submit = f"cd /tmp; sbatch --parsable {options} --wrap 'srun sleep 1000'"
    job = two.run(submit, user="user", check=True).stdout.strip()
    try:
        wait = "for i in $(seq 200); do [ $(pgrep -cfx 'sleep 1000') -ge 4 ] && exit; sleep 0.3; done; exit 1"
        for machine in two.machines:
            machine.run(wait, check=True)
        seen = two.run(f"numa-align job {job} --all-nodes --json", user="user", timeout=300, check=True)
    finally:
        two.run(f"scancel {job}")
        two.settle()
    nodes = [json.loads(line) for line in seen.stdout.splitlines()]
    assert len(nodes) == 2
    for node in nodes:
        states = [process["state"] for process in node["processes"] if process["name"] == "sleep"]
        assert states == ["aligned"] * 4, node


@pytest.mark.matrix
def test_a_node_without_the_plugin_keeps_slurms_placement(two: Cluster) -> None:
    conf = "/etc/slurm/plugstack.conf.d/numa-align.conf"
    two.machines[1].run(f"mv {conf} {conf}.away", check=True)
    try:
        ranks = on_both(two)
    finally:
        two.machines[1].run(f"mv {conf}.away {conf}", check=True)
    assert_half_is_aligned(ranks[:4], UNLIKE[0])
    assert all(not rank.environment and rank.mode == "default" for rank in ranks[4:])
    two.settle()  # a node that is drained never comes to be idle
