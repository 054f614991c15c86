"""`job --fix` binds one's own running processes, as the kernel confirms, and says what it cannot change."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from builder import Machine, on_nodes
from numa_align.process.affinity import move_pages
from numa_align.process.fix import cpuset_of, fix, gpus_of, lines_of, room_of, shares
from numa_align.process.of_job import Seen, Thread
from numa_align.process.state import Policy, ProcessState
from numa_align.topology.model import Gpu

TOPOLOGY = Machine(packages=2, cores=1, gpus=on_nodes(0, 1)).topology()

#: A thread beside the main one, as a pool of OpenMP's or PyTorch's.
PROGRAM = (
    "import os, threading, time\n"
    "os.sched_setaffinity(0, {0, 1})\n"
    "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    "print(flush=True); time.sleep(600)\n"
)


@pytest.fixture
def process() -> Iterator[int]:
    """A process of two threads that may run on CPUs 0 and 1, as Slurm leaves a task that nobody binds."""
    if not {0, 1} <= os.sched_getaffinity(0):
        pytest.skip("needs CPUs 0 and 1")
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout
        running.stdout.readline()
        yield running.pid
        running.kill()


def seen(pid: int, gpus: tuple[Gpu, ...], rank: int | None = 0, cpus: tuple[int, ...] = (0, 1)) -> Seen:
    state = ProcessState(pid, cpus, (0,), Policy("default"), {0: 1 << 20}, {})
    return Seen(
        pid, "python3", rank, cpus, (0,), (Thread(pid, "python3", cpus),), gpus, state, None, None, None
    )


def masks(pid: int) -> list[set[int]]:
    """The kernel's word on each thread."""
    return [os.sched_getaffinity(int(name)) for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208


def test_every_thread_gets_the_cpus_of_its_gpu_and_the_kernel_says_so(process: int) -> None:
    (fixed,) = fix([seen(process, (TOPOLOGY.gpus[1],))], TOPOLOGY, (0, 1), move=False, uid=os.geteuid())
    assert masks(process) == [{1}, {1}]
    assert (fixed.before, fixed.after, fixed.reason) == ((0, 1), (1,), None)
    said = lines_of(fixed)
    assert f"{process}: CPUs 0-1 -> 1" in said
    assert any("memory policy stays default" in line for line in said)


def test_what_is_another_s_or_uses_no_gpu_or_has_ended_is_left_alone(process: int) -> None:
    nobody = fix([seen(process, TOPOLOGY.gpus[:1])], TOPOLOGY, (0, 1), move=False, uid=os.geteuid() + 1)
    without = fix([seen(process, ())], TOPOLOGY, (0, 1), move=False, uid=os.geteuid())
    gone = fix([seen(4194303, TOPOLOGY.gpus[:1])], TOPOLOGY, (0, 1), move=False, uid=os.geteuid())
    assert [one.reason for (one,) in (nobody, without, gone)] == [
        "it is another user's", "it uses no GPU, so nothing tells where it should be", "it has ended",
    ]  # fmt: skip
    assert masks(process) == [{0, 1}] * 2


def test_it_never_leaves_the_room_that_the_job_has(process: int) -> None:
    (fixed,) = fix([seen(process, (TOPOLOGY.gpus[1],))], TOPOLOGY, (0,), move=False, uid=os.geteuid())
    assert set(fixed.after) <= {0, 1} and masks(process) == [set(fixed.after)] * 2
    assert 1 not in fixed.after


def test_loaders_follow_their_task_and_shares_of_gpus_are_disjoint() -> None:
    big = Machine(packages=2, cores=8, gpus=on_nodes(0, 0, 1)).topology()
    one, loader, other = seen(1, big.gpus[:1]), seen(2, ()), seen(3, big.gpus[1:2], rank=1)
    assert gpus_of(loader, [one, loader, other]) == big.gpus[:1]
    parts = shares([one, loader, other], big, big.online)
    assert parts == {big.gpus[0].bdf: (0, 1, 2, 3), big.gpus[1].bdf: (4, 5, 6, 7)}


def test_the_room_is_the_cpuset_else_what_the_job_s_processes_have(tmp_path: Path) -> None:
    def put(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    root = str(tmp_path)
    put("proc/7/cgroup", "0::/slurm/job_1/step_0\n")
    assert cpuset_of(7, root) is None
    put("sys/fs/cgroup/slurm/cpuset.cpus.effective", "2-5\n")
    assert cpuset_of(7, root) == (2, 3, 4, 5)
    put("proc/8/cgroup", "4:memory:/x\n3:cpuset:/slurm/job_1\n0::/\n")
    put("sys/fs/cgroup/cpuset/slurm/job_1/cpuset.effective_cpus", "6-7\n")
    assert cpuset_of(8, root) == (6, 7)
    mine = [seen(4194303, (), cpus=(0,)), seen(4194302, (), cpus=(1,))]
    assert room_of(mine, (0, 1, 2, 3), in_job=True) == {0, 1}
    assert room_of(mine, (0, 1, 2, 3), in_job=False) == {0, 1, 2, 3}


def test_pages_of_a_process_are_moved_by_the_kernel_s_call(process: int) -> None:
    """On one node there is nowhere to go: the call is understood, and leaves nothing behind."""
    assert move_pages(process, (0,), (0,)) == 0


def test_job_fix_says_what_it_did_and_what_it_did_not() -> None:
    with subprocess.Popen(["sleep", "60"]) as running:
        command = [sys.executable, "-m", "numa_align", "job", "--pid", str(running.pid), "--fix"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        running.kill()
    assert f"numa-align: {running.pid}: left as it is: it uses no GPU" in done.stderr
