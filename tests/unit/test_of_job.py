"""What `numa-align job` sees of real processes and threads."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest
from builder import Machine, on_nodes
from click.testing import CliRunner
from numa_align.cli.job import command, inspect, status_of
from numa_align.errors import RequestError
from numa_align.process.descendants import with_children
from numa_align.process.of_job import gpu_holders, look, pids_of_job, threads_of, whole_name
from numa_align.process.state import read_status
from numa_align.topology.model import Topology
from numa_align.topology.read import read_here

JOB = 770077


def _wait_for_exec(pid: int, name: str) -> None:
    """Until a process is this program: Popen returns in the middle of exec, when it closes files.

    From then on the kernel shows no environment until it shows the new one.
    """
    folder = Path(f"/proc/{pid}")
    while (folder / "comm").read_text() != f"{name}\n" or not (folder / "environ").read_bytes():
        time.sleep(0.01)


@pytest.fixture
def job() -> Iterator[subprocess.Popen[bytes]]:
    """A shell and its child, as a job's environment marks them."""
    environment = {**os.environ, "SLURM_JOB_ID": str(JOB), "SLURM_PROCID": "3"}
    with subprocess.Popen(["sh", "-c", "sleep 60; :"], env=environment) as process:
        while len(with_children(process.pid)) < 2:
            time.sleep(0.01)
        for pid, name in zip(with_children(process.pid), ("sh", "sleep")):
            _wait_for_exec(pid, name)
        yield process
        for pid in reversed(with_children(process.pid)):
            os.kill(pid, signal.SIGKILL)


def test_the_processes_of_a_job_are_found_and_judged(job: subprocess.Popen[bytes]) -> None:
    pids = pids_of_job(JOB)
    assert pids == with_children(job.pid)
    seen = inspect(JOB, None, read_here())
    assert [process.rank for process in seen] == [3, 3]
    assert {process.name for process in seen} == {"sh", "sleep"}
    assert all(process.state and process.state.bytes_by_node for process in seen)
    assert status_of(seen) == 0
    shown = CliRunner().invoke(command, [str(JOB)], catch_exceptions=False).output
    assert shown.startswith(f"job {JOB} on {os.uname().nodename}\n")
    assert "task 3: 2 processes have " in shown
    told = json.loads(CliRunner().invoke(command, [str(JOB), "--json"], catch_exceptions=False).output)
    (task,) = told["tasks"]
    assert (task["task"], task["processes"]) == (3, 2)
    assert sum(task["private_by_node"].values()) > max(
        sum(process["private_by_node"].values()) for process in told["processes"]
    )


def test_who_looks_is_no_process_of_the_job() -> None:
    """As a step of the job's beside it, which --all-nodes starts."""
    program = (
        "import os; from numa_align.process.of_job import pids_of_job; "
        f"print(os.getpid() in pids_of_job({JOB}))"
    )
    environment = {**os.environ, "SLURM_JOB_ID": str(JOB)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


def test_a_job_s_processes_are_those_that_the_kernel_knows(tmp_path: Path) -> None:
    """tests/unit/test_audit.py shows which these are, and that Slurm's own are not among them."""
    for pid, step in ((10, "0"), (11, "extern")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (slurmstepdX) S 1\n")
        (tmp_path / str(pid) / "cgroup").write_text(
            f"0::/system.slice/slurmstepd.scope/job_{JOB}/step_{step}/user\n"
        )
    assert pids_of_job(JOB, str(tmp_path)) == (10, 11)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("owner", [None, 0, 65534])
def test_of_processes_that_only_say_so_the_owners_count(
    owner: Optional[int], job: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm says who the owner is (here a fake of squeue); without it nobody but who asks is believed."""
    if owner is not None:
        (tmp_path / "squeue").write_text(f"#!/bin/sh\necho {owner}\n")
        (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    other = subprocess.Popen(["sleep", "60"], env={"SLURM_JOB_ID": str(JOB)}, user=65534)
    _wait_for_exec(other.pid, "sleep")
    found = pids_of_job(JOB)
    other.kill()
    other.wait()
    assert found == ((other.pid,) if owner == 65534 else with_children(job.pid))


def test_a_name_is_neither_markup_nor_orders_to_the_terminal() -> None:
    program = "import time; open('/proc/self/comm', 'w').write('[/x]\\x1b]0;t'); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        while not Path(f"/proc/{process.pid}/comm").read_text().startswith("[/x]"):
            time.sleep(0.01)
        result = CliRunner().invoke(command, ["--pid", str(process.pid), "--threads"], catch_exceptions=False)
        process.kill()
    assert "[/x]?]0;t" in result.output
    assert "\x1b" not in result.output


def test_the_json_names_every_thread(job: subprocess.Popen[bytes]) -> None:
    result = CliRunner().invoke(command, [str(JOB), "--json"], catch_exceptions=False)
    (line,) = result.output.splitlines()
    data = json.loads(line)
    assert data["job"] == JOB and len(data["processes"]) == 2
    (thread,) = data["processes"][0]["threads"]
    assert thread["tid"] == job.pid and thread["cpus"] == data["processes"][0]["cpus"]


def test_a_thread_that_strays_is_named() -> None:
    mask = os.sched_getaffinity(0)
    if len(mask) < 2:
        pytest.skip("needs two CPUs")
    go = threading.Event()
    stray = threading.Thread(target=go.wait)
    stray.start()
    os.sched_setaffinity(0, {min(mask)})
    try:
        seen = look(os.getpid(), read_here(), {})
        assert seen is not None
        assert {thread.tid for thread in seen.strays} >= {stray.native_id}
    finally:
        os.sched_setaffinity(0, mask)
        go.set()
        stray.join()


def test_threads_are_those_of_the_kernel_with_a_status_too() -> None:
    go = threading.Event()
    with contextlib.ExitStack() as stack:
        stack.callback(go.set)
        for number in range(4):
            status = read_status(f"/proc/{os.getpid()}")
            threads = threads_of(os.getpid(), status)
            assert threads == threads_of(os.getpid())
            assert [thread.tid for thread in threads] == sorted(
                int(one.name) for one in Path("/proc/self/task").iterdir()
            )
            assert status.threads == len(threads) > number
            threading.Thread(target=go.wait).start()


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/bin/gnome-keyring-daemon\0--start\0", "gnome-keyring-daemon"),
        ("gnome-keyring-daemon --start\0", "gnome-keyring-daemon"),
        ("gnome-keyring-daemon: idle worker", "gnome-keyring-daemon:"),
        ("/opt/my tools/gnome-keyring-daemon\0x\0", "gnome-keyring-daemon"),
        ("/usr/bin/python3\0/usr/bin/gnome-keyring-daemon\0", "gnome-keyring-d"),
        ("", "gnome-keyring-d"),
    ],
)
def test_a_long_name_is_completed_by_the_command_line(command: str, name: str) -> None:
    assert whole_name("gnome-keyring-d", command) == name


def test_a_program_with_a_long_name_has_all_of_it(tmp_path: Path) -> None:
    program = tmp_path / "a-name-of-more-than-15-bytes"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        _wait_for_exec(process.pid, program.name[:15])
        seen = look(process.pid, read_here(), {})
        process.kill()
    assert seen is not None and seen.name == program.name


def test_a_zombie_and_a_vanished_process_survive(job: subprocess.Popen[bytes]) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    while "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
        time.sleep(0.01)
    seen = look(child, read_here(), {})
    result = CliRunner().invoke(command, ["--pid", str(child)], catch_exceptions=False)
    assert result.exit_code == 2 and f"{child}: a zombie: it has ended" in result.output
    os.waitpid(child, 0)
    assert seen is not None and seen.hidden and seen.hidden.startswith("a zombie")
    assert look(child, read_here(), {}) is None
    assert threads_of(child) == ()


def test_no_such_process_or_job_is_a_line() -> None:
    with pytest.raises(RequestError, match="there is no process 4194999"):
        with_children(4194999)
    with pytest.raises(RequestError, match=r"job 4194999 has no process on this node.*--all-nodes"):
        inspect(4194999, None, read_here())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_what_permissions_hide_is_said(job: subprocess.Popen[bytes]) -> None:
    program = (
        "import os, sys\n"
        "from numa_align.process.of_job import look\n"
        "from numa_align.topology.read import read_here\n"
        "os.setuid(65534)\n"
        f"seen = look({job.pid}, read_here(), {{}})\n"
        "print(bool(seen.cpus), seen.verdict, seen.hidden)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stdout.startswith("True None ") and "ask as the owner" in result.stdout, result


def test_an_open_device_file_tells_the_gpu(tmp_path: Path) -> None:
    topology = Machine(gpus=on_nodes(0)).topology()
    device = tmp_path / "nvidia0"
    device.touch()
    gpu = topology.gpus[0]._replace(device=str(device))
    with device.open():
        holders = gpu_holders([os.getpid()], topology._replace(gpus=(gpu,)))
    assert holders == {os.getpid(): (gpu,)}


@pytest.fixture
def two_open(tmp_path: Path) -> Iterator[tuple[Topology, list[int]]]:
    """Two GPUs and open files that stand for theirs, as CUDA opens those of all that it sees."""
    found = Machine(gpus=on_nodes(0, 0)).topology()
    devices = [tmp_path / f"nvidia{number}" for number in range(2)]
    for device in devices:
        device.touch()
    gpus = tuple(gpu._replace(device=str(device)) for gpu, device in zip(found.gpus, devices))
    files = [os.open(device, os.O_RDONLY) for device in devices]
    yield found._replace(gpus=gpus), files
    for file in files:
        os.close(file)


def _child(files: list[int], **variables: str) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(["sleep", "60"], pass_fds=files, env={"PATH": os.environ["PATH"], **variables})
    _wait_for_exec(child.pid, "sleep")
    return child


def test_of_several_open_device_files_the_plugins_variable_decides(
    two_open: tuple[Topology, list[int]],
) -> None:
    topology, files = two_open
    child = _child(files, NUMA_ALIGN_GPUS=topology.gpus[1].bdf)
    try:
        assert gpu_holders([child.pid], topology) == {child.pid: (topology.gpus[1],)}
    finally:
        child.kill()
        child.wait()


def test_a_loader_s_process_has_the_gpu_of_the_process_that_forked_it(
    two_open: tuple[Topology, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    topology, files = two_open
    answer = [(os.getpid(), topology.gpus[1].bdf)]  # a fake of NVML's
    monkeypatch.setattr("numa_align.process.of_job._running", lambda _: answer)
    child = _child(files)
    try:
        holders = gpu_holders([os.getpid(), child.pid], topology)
    finally:
        child.kill()
        child.wait()
    assert holders == {os.getpid(): (topology.gpus[1],), child.pid: (topology.gpus[1],)}
