"""`numa-align audit` on a node where a stock job and an aligned one run side by side; one task has undone it.

The GPUs are device files of consoles, which can be opened and held as a driver's can: there is no NVIDIA
driver in the machine. What is right is read from the kernel, process by process.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import EmulatedMachine

from . import steps
from .machines import configured

pytestmark = pytest.mark.machine

HOLDER = Path(__file__).with_name("holder.py")

# A console's device file, as Linux has 63 of them.
CONSOLES = "for n in $(seq 0 7); do rm -f /dev/nvidia$n; mknod -m 666 /dev/nvidia$n c {} $((n + {})); done"


@pytest.fixture(scope="module")
def openable(machine: EmulatedMachine) -> Iterator[EmulatedMachine]:
    """The machine with GPUs that can be opened."""
    machine.run(CONSOLES.format(4, 10), check=True)
    machine.copy_in(HOLDER, "/opt/holder.py")
    with configured(machine, machine.config):
        yield machine
        machine.run(CONSOLES.format(195, 0), check=True)


def holders(machine: EmulatedMachine, count: int) -> dict[tuple[int, int], tuple[int, int]]:
    """By job and task: process and minor of the GPU that it holds."""
    there = f"[ $(ls /tmp/holder.* 2>/dev/null | wc -l) -ge {count} ]"
    wait = f"for i in $(seq 300); do {there} && break; sleep 0.3; done"
    machine.run(wait, timeout=150, check=True)
    found = {}
    for line in machine.run("grep . /tmp/holder.*", check=True).stdout.splitlines():
        name, _, words = line.partition(":")
        job, task = name.removeprefix("/tmp/holder.").split(".")
        pid, minor = words.split()
        found[int(job), int(task)] = int(pid), int(minor)
    return found


def state_in_the_kernel(machine: EmulatedMachine, pid: int, minor: int) -> str:
    """From Cpus_allowed_list alone: GPUs 0-3 and CPUs 0-3 are on node 0, the others on node 1."""
    text = machine.run(f"grep Cpus_allowed_list /proc/{pid}/status", check=True).stdout.split()[1]
    near = {cpu // 4 == minor // 4 for cpu in steps.cpus(text)}
    return "aligned" if near == {True} else "partial" if True in near else "far"


def test_audit_tells_the_tasks_of_all_jobs_as_the_kernel_has_them(openable: EmulatedMachine) -> None:
    machine = openable
    commands = (
        "srun -n4 --ntasks-per-socket=2 --gpus=4 python3 /opt/holder.py",
        "srun --numa-align -n4 --gpus=4 python3 /opt/holder.py widen",
    )
    running = []
    try:
        for number, command in enumerate(commands, 1):
            running.append(machine.start(command, user="user"))
            held = holders(machine, 4 * number)
        truth = {key: state_in_the_kernel(machine, *process) for key, process in held.items()}
        data = json.loads(machine.run("numa-align audit --json", check=True, timeout=120).stdout)
        told = {(task["job"], task["task"]): task for task in data["tasks"]}
        assert set(told) == set(held)
        for key, task in told.items():
            state = "far" if task["state"] in ("unaligned", "memory-only") else task["state"]
            # Memory may make a task worse than its CPUs: that is what partial says of an aligned mask.
            assert state == truth[key] or (truth[key], task["state"]) == ("aligned", "partial"), (key, task)
            assert task["user"] == "user" and task["bytes"] >= 32 << 20
        stock, aligned = sorted({job for job, _ in told})
        assert "far" in {truth[stock, task] for task in range(4)}, "stock Slurm placed all: nothing is shown"
        assert {told[stock, task]["cause"] for task in range(4)} <= {None, "not-asked"}
        assert told[aligned, 0]["cause"] == "undone" and told[aligned, 0]["state"] != "aligned"
        assert [told[aligned, task]["state"] for task in (1, 2, 3)] == ["aligned"] * 3
        # Terminal and metrics have the same numbers.
        states = Counter(task["state"] for task in data["tasks"])
        machine.run("numa-align audit --metrics /tmp/numa_align.prom", check=True, timeout=120)
        metrics = machine.run("grep ^numa_align_gpus /tmp/numa_align.prom", check=True).stdout
        for state, count in states.items():
            assert f'numa_align_gpus{{state="{state}"}} {count}\n' in metrics
        shown = machine.run("numa-align audit", check=True, timeout=120).stdout
        assert "8 of 8 GPUs in use" in shown
        # Users see their own tasks; another user sees none of them and is told so.
        own = json.loads(machine.run("numa-align audit --json", user="user", check=True).stdout)
        assert {(task["job"], task["task"]) for task in own["tasks"]} == set(held)
        other = json.loads(machine.run("numa-align audit --json", user="mallory", check=True).stdout)
        assert other["tasks"] == [] and other["hidden"] >= 8
    finally:
        machine.run("scancel -u user; true")
        for step in running:
            step.wait(timeout=120)
        machine.settle()
        machine.run("rm -f /tmp/holder.*")
