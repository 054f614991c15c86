"""The commands for users in machines with several NUMA nodes, judged by what the kernel reports.

Each function of the shared machine goes through several commands, since every step costs seconds there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
from machine import EmulatedMachine, Hardware, SlurmConfig
from numa_align.cli import COMMANDS, cli
from numa_align.view.export import TOOLS

from . import steps
from .machines import booted, configured
from .steps import PROBE, ranks_of, step

# Not for every run: each machine takes minutes.
pytestmark = [pytest.mark.machine, pytest.mark.matrix]

CPUS = {0: frozenset(range(4)), 1: frozenset(range(4, 8))}
NO_PLUGIN = SlurmConfig(plugstack_include=None, prolog=None, epilog=None)
TASK_PROLOG = replace(NO_PLUGIN, slurm_extra=("TaskProlog=/usr/bin/numa-align-task-prolog",))

#: Sets what torchrun sets for the workers that it starts.
LAUNCHER = Path(__file__).with_name("launcher.py")


@pytest.fixture
def bare(machine: EmulatedMachine) -> Iterator[EmulatedMachine]:
    """The shared machine without the plugin and the job prolog."""
    with configured(machine, NO_PLUGIN):
        yield machine


@pytest.fixture(scope="module")
def nps() -> Iterator[EmulatedMachine]:
    """Four nodes in two packages, GPUs on one node of each package."""
    shape = Hardware(packages=2, nodes_per_package=2, cores_per_node=2, memory=512, gpus=(1, 1, 3, 3))
    with booted(shape, config=NO_PLUGIN) as ready:
        yield ready


def look(machine: EmulatedMachine, command: str) -> Any:
    """The JSON of a command that only looks."""
    return json.loads(machine.run(f"numa-align {command} --json", timeout=120, check=True).stdout)


def assert_drawn(machine: EmulatedMachine, command: str, nodes: int) -> None:
    """The command draws every node into a file that an XML reader understands."""
    file = "/tmp/drawn.svg"
    machine.run(f"rm -f {file}")
    machine.run(f"numa-align {command} --svg {file}", timeout=120)
    drawn = ElementTree.fromstring(machine.run(f"cat {file}", check=True).stdout)
    words = [text for element in drawn.iter() if (text := element.text)]
    assert [sum(text.startswith(f"node {node},") for text in words) for node in range(nodes)] == [1] * nodes


def assert_seen(machine: EmulatedMachine, gpu_nodes: Sequence[int], cpus: dict[int, frozenset[int]]) -> None:
    """topo, plan and show know this machine."""
    nodes = len(cpus)
    topology = look(machine, "topo")
    assert [gpu["node"] for gpu in topology["gpus"]] == list(gpu_nodes)
    assert [steps.cpus(node["cpus"]) for node in topology["nodes"]] == list(cpus.values())
    shown = machine.run("numa-align topo", check=True).stdout
    assert f"{nodes} nodes" in shown and f"{len(gpu_nodes)} GPUs" in shown
    plan = look(machine, f"plan -n{len(gpu_nodes)}")
    assert [task["memory_nodes"] for task in plan["tasks"]] == [[node] for node in gpu_nodes]
    assert_drawn(machine, "topo", nodes)
    assert_drawn(machine, f"plan -n{len(gpu_nodes)}", nodes)
    # 1 says that the state is not aligned.
    each = " ".join(TOOLS)
    every = f"for tool in {each}; do numa-align show --gpus 0 --as $tool || [ $? -eq 1 ] || exit 2; done"
    told = machine.run(["bash", "-c", every], timeout=120, check=True)
    assert len(told.stdout.splitlines()) >= len(TOOLS) and "Traceback" not in told.stderr, told.transcript()


@contextlib.contextmanager
def running(machine: EmulatedMachine, command: str, tasks: int) -> Iterator[str]:
    """The number of a job of the user's whose tasks are all in their last command, a sleep."""
    step = machine.start(command, user="user")
    try:
        find = "for i in $(seq 100); do squeue -h -o %i -t R | grep . && break; sleep 0.3; done"
        job = machine.run(find, timeout=120, check=True).stdout.split()[0]
        count = "for i in $(seq 300); do [ $(pgrep -c -x sleep -u user) -ge $0 ] && break; sleep 0.3; done"
        machine.run(["bash", "-c", count, str(tasks)], timeout=150, check=True)
        yield job
    finally:
        machine.run("scancel -u user; true")
        step.wait(timeout=120)
        machine.settle()


def states_of(machine: EmulatedMachine, job: str) -> dict[int, Any]:
    """What the owner sees of the job's sleeping tasks."""
    told = machine.run(f"numa-align job {job} --json", user="user", timeout=120)
    return {p["task"]: p for p in json.loads(told.stdout)["processes"] if p["name"] == "sleep"}


def assert_each_near(
    ranks: list[steps.Rank], node_of: dict[int, int], cpus: dict[int, frozenset[int]]
) -> None:
    for rank in ranks:
        node = node_of[rank.rank]
        assert rank.cpus <= cpus[node], rank
        assert (rank.mode, rank.nodes) == ("preferred-many", (node,)), rank
        assert rank.pages_on(node) >= 0.95, rank
        assert rank.environment["NUMA_ALIGN_STATE"] == "aligned"
    assert sum(len(rank.cpus) for rank in ranks) == len(frozenset().union(*(rank.cpus for rank in ranks)))


EIGHT = {rank: rank // 4 for rank in range(8)}


def test_without_the_plugin_run_and_the_task_prolog_do_its_work(bare: EmulatedMachine) -> None:
    assert_each_near(step(bare, f"srun -n8 --gpus=8 numa-align run {PROBE}"), EIGHT, CPUS)
    # Four: eight Pythons at a time in software emulation take longer than the task prolog's own limit.
    options = "-n4 -c2 --gpus=4 --task-prolog=/usr/bin/numa-align-task-prolog"
    result = bare.run(f"srun {options} {PROBE}", user="user", cwd="/tmp", timeout=300, check=True)
    for rank in ranks_of(result):
        assert rank.cpus <= CPUS[rank.rank // 2] and rank.mode == "default", result.stdout
        assert rank.environment["NUMA_ALIGN_STATE"] == "aligned"
    assert result.stdout.count("numa-align: task ") == 4
    assert "memory policy of another process cannot be set" in result.stdout


def test_the_task_prolog_of_a_batch_script_binds_its_sruns(bare: EmulatedMachine) -> None:
    bare.configure(TASK_PROLOG)
    script = f"#!/bin/bash\necho CPU=$SLURM_CPU_BIND\necho MEM=$SLURM_MEM_BIND\nsrun -c2 {PROBE}\n"
    bare.put({"/tmp/batch.sh": script})
    submit = "sbatch -n4 -c2 --gpus=4 --wait -o /tmp/batch.out /tmp/batch.sh"
    bare.run(submit, user="user", cwd="/tmp", timeout=400, check=True)
    result = bare.run("cat /tmp/batch.out", check=True)
    assert "CPU=mask_cpu:0x" in result.stdout and "MEM=prefer,mask_mem:0x1,0x1,0x" in result.stdout
    ranks = ranks_of(result)
    assert len(ranks) == 4
    for rank in ranks:
        # A policy that is set can only be the variables': the task prolog of the step cannot set one.
        assert rank.cpus <= CPUS[rank.rank // 2] and (rank.mode, rank.nodes) == (
            "preferred", (rank.rank // 2,),
        ), result.stdout  # fmt: skip
        assert rank.pages_on(rank.rank // 2) >= 0.95
    assert len(frozenset().union(*(rank.cpus for rank in ranks))) == 8


def test_what_only_looks_knows_the_machine(machine: EmulatedMachine) -> None:
    assert_seen(machine, (0,) * 4 + (1,) * 4, CPUS)
    assert machine.run("numa-align gpus 2", check=True).stdout.splitlines()[0] == "0,1"
    assert machine.run("numa-align gpus 4", check=True).stdout.splitlines()[0] == "0,1,2,3"
    five = machine.run("numa-align gpus 5", check=True).stdout
    assert "no node has 5 GPUs" in five and "4 would be" in five


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_the_help_works(machine: EmulatedMachine, name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None and command.epilog
    # What report sums up.
    machine.run("numa-align audit --log /var/log/numa-align/samples.json", check=True)
    result = machine.run(command.epilog.removeprefix("Example: "), timeout=300)
    # doctor has findings in a machine without a driver; what is not understood ends with 2.
    assert result.status in ((0, 1, 3) if name == "doctor" else (0,)), result.transcript()
    assert result.stdout and "Traceback" not in result.stderr, result.transcript()


def test_a_launchers_workers_divide_the_tasks_own_set(machine: EmulatedMachine) -> None:
    machine.copy_in(LAUNCHER, "/opt/launch.py")
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


#: A program as users write it: its top level binds, and a child that is spawned runs that again.
SPAWNS = """
import multiprocessing, runpy, sys
import numa_align

bound = numa_align.bind_local_rank()

def look():
    runpy.run_path("/opt/probe.py", run_name="__main__")

if __name__ == "__main__":
    child = multiprocessing.get_context(sys.argv[1]).Process(target=look)
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""


def test_a_worker_keeps_its_place_however_often_it_is_placed(machine: EmulatedMachine) -> None:
    """Two GPUs on two nodes: each worker has its node, of which a second division would leave half."""
    machine.copy_in(LAUNCHER, "/opt/launch.py")
    machine.put({"/opt/spawns.py": SPAWNS})
    for method in ("spawn", "forkserver"):
        worker = f"python3 /opt/launch.py 2 numa-align run python3 /opt/spawns.py {method}"
        ranks = step(machine, f"srun --numa-align -n1 -c8 --gpus=2 {worker}")
        assert [len(rank.cpus) for rank in ranks] == [4, 4], ranks
        assert_each_near(ranks, {0: 0, 1: 1}, CPUS)


def test_workers_that_see_one_gpu_each_share_out_the_task(machine: EmulatedMachine) -> None:
    """The wrapper script that many sites teach, in an aligned task and in one that is not."""
    machine.copy_in(LAUNCHER, "/opt/launch.py")
    show = "bash -c 'CUDA_VISIBLE_DEVICES=$LOCAL_RANK exec \"$@\"' wrapper"
    worker = f"python3 /opt/launch.py 8 {show} numa-align run {PROBE}"
    for align in ("--numa-align", "--numa-align=off"):
        assert_each_near(step(machine, f"srun {align} -n1 -c8 --gpus=8 {worker}"), EIGHT, CPUS)


def test_check_counts_the_step_and_exits_0_only_if_all_are_aligned(machine: EmulatedMachine) -> None:
    result = machine.run("srun --numa-align -n8 --gpus=8 numa-align check", user="user", timeout=300)
    assert result.status == 0, result.transcript()
    assert result.stdout.count("  aligned\n") == 8, result.transcript()
    assert "total on node1: 8 of 8 tasks aligned" in result.stdout
    stock = machine.run("srun -n8 --gpus=8 numa-align check", user="user", timeout=300)
    assert stock.status == 1
    assert "total on node1: 4 of 8 tasks aligned, 4 unaligned" in stock.stdout
    assert machine.run("ls /dev/shm", check=True).stdout == ""


def test_a_job_is_shown_whole_to_owner_and_root_in_part_to_others(machine: EmulatedMachine) -> None:
    words = "srun --numa-align -n2 --gpus=2 bash -c 'numa-align check --no-total; sleep 1000'"
    with running(machine, words, 2) as job:
        tasks = states_of(machine, job)
        assert [tasks[rank]["state"] for rank in (0, 1)] == ["aligned", "aligned"], tasks
        assert tasks[0]["distance"] == 10 and tasks[0]["policy"] == "preferred-many"
        shown = machine.run(f"numa-align job {job}", check=True).stdout
        assert "sleep" in shown and "preferred-many:0" in shown
        assert_drawn(machine, f"job {job}", 2)
        other = machine.run(f"numa-align job {job}", user="mallory")
        assert "as the owner" in other.stdout or "that this user can see" in other.stderr, other.transcript()
        assert "Traceback" not in other.stdout + other.stderr
        everywhere = machine.run(f"numa-align job {job} --all-nodes", user="user", timeout=120)
        assert "sleep" in everywhere.stdout, everywhere.transcript()
        # What an ssh into the job starts is put there by pam_slurm_adopt.
        extern = f"/sys/fs/cgroup/system.slice/*slurmstepd.scope/job_{job}/step_extern/user/task_special"
        start = f"tail -f /dev/null >/dev/null 2>&1 & echo $! > $(echo {extern})/cgroup.procs"
        machine.run(start, check=True)
        adopted = machine.run(f"numa-align job {job} --json", timeout=120)
        names = [process["name"] for process in json.loads(adopted.stdout)["processes"]]
        assert names.count("tail") == 1 and names.count("sleep") == 2, "not the sleep of the extern step"


#: Touches 64 MiB, and tells that it has.
TOUCH = (
    "from time import sleep; block = bytearray(64 << 20); block[::4096] = b'x' * len(block[::4096]); "
    "open('/tmp/touched', 'w'); sleep(999)"
)


def test_fix_binds_and_moves_a_running_process_to_its_gpu(
    machine: EmulatedMachine,
) -> None:
    gpu = next(gpu for gpu in look(machine, "topo")["gpus"] if gpu["node"] == 1)["bdf"]
    start = (
        f'NUMA_ALIGN_GPUS={gpu} taskset -c 0-3 python3 -c "from time import sleep; {TOUCH}" >/dev/null 2>&1 &'
    )
    pid = machine.run(f"rm -f /tmp/touched; {start} echo $!", user="user", check=True).stdout.strip()
    try:
        machine.run("until test -e /tmp/touched; do sleep 0.1; done", timeout=120, check=True)
        refused = machine.run(f"numa-align job --pid {pid} --fix", user="mallory", timeout=120)
        assert "left as it is: it is another user's" in refused.stderr or refused.status == 2, (
            refused.transcript()
        )
        done = machine.run(f"numa-align job --pid {pid} --fix --move-pages", user="user", timeout=120)
        assert f"{pid}: CPUs 0-3 -> 4-7" in done.stderr, done.transcript()
        assert "its memory policy stays default" in done.stderr and "MiB moved to nodes near" in done.stderr
        allowed = machine.run(f"grep Cpus_allowed_list /proc/{pid}/task/*/status", check=True).stdout
        assert set(allowed.split()[1::2]) == {"4-7"}
        maps = machine.run(f"grep anon= /proc/{pid}/numa_maps", check=True).stdout
        pages = {n: sum(int(word[3:]) for word in maps.split() if word.startswith(f"N{n}=")) for n in (0, 1)}
        assert pages[1] > (60 << 20) // 4096 > 10 * pages[0], maps
    finally:
        machine.run(f"kill {pid}")


def test_bad_input_is_one_line(machine: EmulatedMachine) -> None:
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


def test_dockers_options_are_what_a_cgroup_takes(machine: EmulatedMachine) -> None:
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


def test_bench_tells_local_from_remote_by_node(machine: EmulatedMachine) -> None:
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
        assert (rank.mode, rank.nodes) == ("preferred-many", (node,)) and rank.pages_on(node) >= 0.95, rank
        assert rank.environment["NUMA_ALIGN_STATE"] == "aligned"
    assert len(frozenset().union(*(rank.cpus for rank in ranks))) == 8


def test_every_command_on_a_machine_of_four_nodes(nps: EmulatedMachine) -> None:
    assert_nearest_halves(step(nps, f"srun -n4 -c2 --gpus=4 numa-align run {PROBE}"))
    nps.copy_in(LAUNCHER, "/opt/launch.py")
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
    cells = json.loads(nps.run("numa-align bench --quick --json", timeout=300, check=True).stdout)["memory"]
    assert len(cells) == 16


def test_what_only_looks_knows_four_nodes(nps: EmulatedMachine) -> None:
    assert_seen(nps, (1, 1, 3, 3), NPS_CPUS)
    seen = look(nps, "job --pid 1")
    assert seen["processes"][0]["cpu_nodes"] == [0, 1, 2, 3]
    with running(nps, "srun -n4 -c2 --gpus=4 numa-align run sleep 1000", 4) as job:
        tasks = states_of(nps, job)
        # Each has a core of its GPU's node and one of the node beside it.
        assert [tasks[rank]["state"] for rank in range(4)] == ["aligned"] * 4, tasks
        assert [tasks[rank]["policy_nodes"] for rank in range(4)] == [[1], [1], [3], [3]]
        assert [tasks[rank]["distance"] for rank in range(4)] == [nps.topology.near_distance] * 4
        assert_drawn(nps, f"job {job}", 4)
