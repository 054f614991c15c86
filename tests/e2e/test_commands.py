"""The commands for users in machines with several NUMA nodes, judged by the kernel's word.

Each function of the shared machine goes through several commands, since every step costs seconds there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine, SlurmConfig, Topology

from . import steps
from .steps import PROBE, ranks_of, step

# Not for every run: each machine takes minutes.
pytestmark = [pytest.mark.machine, pytest.mark.matrix]

ROOT = Path(__file__).resolve().parents[2]
CPUS = {0: frozenset(range(4)), 1: frozenset(range(4, 8))}
NO_PLUGIN = SlurmConfig(plugstack_include=None, prolog=None, epilog=None)

#: What torchrun sets for the workers that it starts, as a launcher of a few lines.
LAUNCHER = """
import os, subprocess, sys
count = int(sys.argv[1])
workers = []
for rank in range(count):
    own = {"LOCAL_RANK": rank, "RANK": rank, "LOCAL_WORLD_SIZE": count, "WORLD_SIZE": count}
    own["SLURM_PROCID"] = rank  # by which the probe's lines are put in order
    environment = {**os.environ, **{name: str(value) for name, value in own.items()}}
    workers.append(subprocess.Popen(sys.argv[2:], env=environment))
sys.exit(max(worker.wait() for worker in workers))
"""


@pytest.fixture
def bare(machine: Machine) -> Iterator[Machine]:
    """The shared machine without the plugin and the job prolog."""
    before = machine.config
    machine.configure(NO_PLUGIN)
    yield machine
    machine.configure(before)


@pytest.fixture(scope="module")
def nps() -> Iterator[Machine]:
    """Four nodes in two packages, GPUs on one node of each package."""
    shape = Topology(packages=2, nodes_per_package=2, cores_per_node=2, memory=512, gpus=(1, 1, 3, 3))
    with Machine(shape, project=ROOT, config=NO_PLUGIN) as booted:
        booted.copy_in(steps.PROBE_FILE, "/opt/probe.py")
        yield booted


def assert_each_near(
    ranks: list[steps.Rank], node_of: dict[int, int], cpus: dict[int, frozenset[int]]
) -> None:
    for rank in ranks:
        node = node_of[rank.rank]
        assert rank.cpus <= cpus[node], rank
        assert (rank.mode, rank.nodes) == ("preferred", (node,)), rank
        assert rank.pages_on(node) >= 0.95, rank
        assert rank.environment["NUMA_ALIGN_STATE"] == "aligned"
    assert sum(len(rank.cpus) for rank in ranks) == len(frozenset().union(*(rank.cpus for rank in ranks)))


EIGHT = {rank: rank // 4 for rank in range(8)}


def test_without_the_plugin_run_and_the_task_prolog_do_its_work(bare: Machine) -> None:
    assert_each_near(step(bare, f"srun -n8 --gpus=8 numa-align run {PROBE}"), EIGHT, CPUS)
    # Four: eight Pythons at a time in software emulation take longer than the task prolog's own limit.
    options = "-n4 -c2 --gpus=4 --task-prolog=/usr/bin/numa-align-task-prolog"
    result = bare.run(f"srun {options} {PROBE}", user="user", cwd="/tmp", timeout=300, check=True)
    for rank in ranks_of(result):
        assert rank.cpus <= CPUS[rank.rank // 2] and rank.mode == "default", result.stdout
        assert rank.environment["NUMA_ALIGN_STATE"] == "aligned"
    assert result.stdout.count("numa-align: task ") == 4
    assert "memory policy of another process cannot be set" in result.stdout


def test_a_launchers_workers_divide_the_tasks_own_set(machine: Machine) -> None:
    machine.put({"/opt/launch.py": LAUNCHER})
    worker = f"python3 /opt/launch.py 8 numa-align run {PROBE}"
    assert_each_near(step(machine, f"srun --numa-align -n1 -c8 --gpus=8 {worker}"), EIGHT, CPUS)
    program = "import numa_align, runpy; numa_align.bind_local_rank(); runpy.run_path('/opt/probe.py')"
    machine.put({"/opt/bound.py": "import sys; sys.path.insert(0, '/usr/lib/numa-align/python')\n" + program})
    worker = "python3 /opt/launch.py 4 python3 /opt/bound.py"
    ranks = step(machine, f"srun --numa-align -n2 -c4 --gpus=8 {worker}")
    assert len(ranks) == 8
    for rank in ranks:
        assert len(rank.cpus) == 1 and len(rank.nodes) == 1 and rank.cpus <= CPUS[rank.nodes[0]], rank
    assert len(frozenset().union(*(rank.cpus for rank in ranks))) == 8


def test_check_counts_the_step_and_its_status_says_whether_all_are_aligned(machine: Machine) -> None:
    result = machine.run("srun --numa-align -n8 --gpus=8 numa-align check", user="user", timeout=300)
    assert result.status == 0, result.transcript()
    assert result.stdout.count("  aligned\n") == 8, result.transcript()
    assert "total on node1: 8 of 8 tasks aligned" in result.stdout
    stock = machine.run("srun -n8 --gpus=8 numa-align check", user="user", timeout=300)
    assert stock.status == 1
    assert "total on node1: 4 of 8 tasks aligned, 4 unaligned" in stock.stdout
    assert machine.run("ls /dev/shm", check=True).stdout == ""


def test_a_running_job_is_seen_whole_by_its_owner_and_root_and_in_part_by_others(machine: Machine) -> None:
    words = "srun --numa-align -n2 --gpus=2 bash -c 'numa-align check --no-total; sleep 1000'"
    running = machine.start(words, user="user")
    try:
        find = "for i in $(seq 100); do squeue -h -o %i -t R | grep . && break; sleep 0.3; done"
        job = machine.run(find, timeout=120, check=True).stdout.split()[0]
        wait = "for i in $(seq 200); do [ $(pgrep -c -x sleep -u user) -ge 2 ] && break; sleep 0.3; done"
        machine.run(wait, timeout=120, check=True)
        data = json.loads(machine.run(f"numa-align job {job} --json", user="user", check=True).stdout)
        tasks = {p["task"]: p for p in data["processes"] if p["name"] == "sleep"}
        assert [tasks[rank]["state"] for rank in (0, 1)] == ["aligned", "aligned"], data
        assert tasks[0]["distance"] == 10 and tasks[0]["policy"] == "preferred"
        shown = machine.run(f"numa-align job {job} --svg /tmp/job.svg", check=True).stdout
        assert "sleep" in shown and "preferred:0" in shown
        assert "<svg" in machine.run("cat /tmp/job.svg", check=True).stdout
        other = machine.run(f"numa-align job {job}", user="mallory")
        assert "as the owner" in other.stdout or "that this user can see" in other.stderr, other.transcript()
        assert "Traceback" not in other.stdout + other.stderr
        everywhere = machine.run(f"numa-align job {job} --all-nodes", user="user", timeout=120)
        assert "sleep" in everywhere.stdout, everywhere.transcript()
    finally:
        machine.run("scancel -u user; true")
        running.wait(timeout=120)
        machine.settle()


def test_bad_input_is_one_line(machine: Machine) -> None:
    cases = {
        "numa-align run --gpus 42 true": "there is no GPU '42'",
        "srun -n1 --gpus=1 numa-align run --gpus 7 true": "it belongs to another job",
        "numa-align check --pid 4190000": "there is no process 4190000",
        "numa-align check --pid 1": "as root",
        "numa-align job --pid 4190000": "there is no process 4190000",
        "numa-align gpus 9": "there are 8 GPUs",
        "numa-align show --gpus 42 --as docker": "there is no GPU '42'",
    }
    for command, says in cases.items():
        result = machine.run(command, user="user", timeout=120)
        lines = [line for line in result.stderr.splitlines() if line.startswith("numa-align: ")]
        assert result.status == 2 and len(lines) == 1 and says in lines[0], result.transcript()
        assert "Traceback" not in result.stderr


def test_dockers_options_are_what_a_cgroup_takes(machine: Machine) -> None:
    """The two files are written as the container runtime writes the options into them."""
    text = machine.run("numa-align show --gpus 5 --as docker", check=True).stdout
    options = dict(word.partition("=")[::2] for word in text.split() if word.startswith("--cpuset"))
    cgroup = "/sys/fs/cgroup/docker-test"
    script = (
        f"echo +cpuset > /sys/fs/cgroup/cgroup.subtree_control; mkdir {cgroup} && "
        f"echo {options['--cpuset-cpus']} > {cgroup}/cpuset.cpus && "
        f"echo {options['--cpuset-mems']} > {cgroup}/cpuset.mems && "
        f"echo $$ > {cgroup}/cgroup.procs && numa-align run --gpus 5 {PROBE}; "
        f"echo $$ > /sys/fs/cgroup/cgroup.procs; rmdir {cgroup}"
    )
    result = machine.run(["bash", "-c", script], timeout=120, check=True)
    (rank,) = ranks_of(result)
    assert rank.cpus == CPUS[1] and rank.pages_on(1) >= 0.95
    # From inside, another node's GPU is out of reach, and that is said.
    foreign = machine.run(
        ["bash", "-c", script.replace("--gpus 5", "--numa-align=strict --gpus 0")], timeout=120
    )
    assert "strict was asked for" in foreign.stderr and not ranks_of(foreign)


def test_bench_tells_near_from_far_by_node(machine: Machine) -> None:
    data = json.loads(machine.run("numa-align bench --quick --json", timeout=300, check=True).stdout)
    assert {(cell["cpu_node"], cell["memory_node"]) for cell in data["memory"]} == {
        (a, b) for a in (0, 1) for b in (0, 1)
    }
    assert all(cell["bandwidth_gb_s"] > 0 for cell in data["memory"])


# -- Four nodes in two packages -------------------------------------------------------------------

NPS_CPUS = {node: frozenset((2 * node, 2 * node + 1)) for node in range(4)}


def assert_nearest_halves(ranks: list[steps.Rank]) -> None:
    """Each has a core of its GPU's node and one of the node beside it, which has no GPU; memory is near."""
    for rank in ranks:
        node = (1, 1, 3, 3)[rank.rank]
        assert [len(rank.cpus & NPS_CPUS[n]) for n in (node, node - 1)] == [1, 1], rank
        assert (rank.mode, rank.nodes) == ("preferred", (node,)) and rank.pages_on(node) >= 0.95, rank
        assert rank.environment["NUMA_ALIGN_STATE"] == "partial"
    assert len(frozenset().union(*(rank.cpus for rank in ranks))) == 8


def test_every_command_on_a_machine_of_four_nodes(nps: Machine) -> None:
    assert_nearest_halves(step(nps, f"srun -n4 -c2 --gpus=4 numa-align run {PROBE}"))
    nps.put({"/opt/launch.py": LAUNCHER})
    worker = f"python3 /opt/launch.py 4 numa-align run {PROBE}"
    assert_nearest_halves(step(nps, f"srun -n1 -c8 --gpus=4 {worker}"))
    (alone,) = ranks_of(nps.run(f"numa-align run --gpus 2 -- {PROBE}", check=True))
    # The node without GPUs in the same package is nearer to this GPU than to any other.
    assert alone.nodes == (3,) and NPS_CPUS[3] <= alone.cpus <= NPS_CPUS[2] | NPS_CPUS[3]
    assert nps.run("numa-align gpus 2", check=True).stdout.splitlines()[0] == "0,1"
    assert "2+2 on nodes 1, 3" in nps.run("numa-align gpus 4", check=True).stdout
    assert "--cpuset-mems=3" in nps.run("numa-align show --gpus 3 --as docker").stdout
    result = nps.run(
        "srun -n4 -c2 --gpus=4 numa-align run --numa-align=cpus=node numa-align check",
        user="user",
        timeout=300,
    )
    assert result.status == 0 and "4 of 4 tasks aligned" in result.stdout, result.transcript()
    seen = json.loads(nps.run("numa-align job --pid 1 --json", check=True).stdout)
    assert seen["processes"][0]["cpu_nodes"] == [0, 1, 2, 3]
    cells = json.loads(nps.run("numa-align bench --quick --json", timeout=300, check=True).stdout)["memory"]
    assert len(cells) == 16
