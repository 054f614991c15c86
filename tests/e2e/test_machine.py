"""The test machine is as described; otherwise no other test on it would mean anything."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from machine import Cluster, CommandError, CommandTimeoutError, EmulatedMachine, Hardware, SlurmConfig

pytestmark = pytest.mark.machine

ODD = Hardware(
    packages=2,
    nodes_per_package=2,
    cores_per_node=1,
    threads=2,
    memory=(512, 0, 256, 256),
    memory_only=(128,),
    gpus=(3, None, 0, 1, 4),
    minors=(2, 0, 1, 4, 3),
)

ACCESSIBLE = "import os; print([n for n in range(16) if os.access(f'/dev/nvidia{n}', os.R_OK | os.W_OK)])"


@pytest.fixture(scope="module")
def machine() -> Iterator[EmulatedMachine]:
    with EmulatedMachine(Hardware(), "24.11") as booted:
        yield booted


def test_odd_machine_is_as_described() -> None:
    """Before the tests that share a machine, so that it is gone when theirs is booted; so too the next."""
    odd = EmulatedMachine(ODD, "24.11")
    try:
        odd.boot()
        check_nodes(odd)
        check_gpus(odd)
    finally:
        odd.stop()


def test_two_machines_run_one_job() -> None:
    shapes = (Hardware(gpus=(0, 1), memory=384), Hardware(packages=1, gpus=(0,), memory=512))
    line = "echo $SLURM_PROCID $(hostname) $SLURM_LOCALID"
    with Cluster(shapes) as cluster:
        command = ["srun", "-N2", "--ntasks-per-node=2", "--gpus-per-node=1", "bash", "-c", line]
        done = cluster.run(command, user="user", check=True)
        assert sorted(done.stdout.splitlines()) == ["0 node1 0", "1 node1 1", "2 node2 0", "3 node2 1"]
        cluster.settle()


def test_machine_is_as_described(machine: EmulatedMachine) -> None:
    check_nodes(machine)
    check_gpus(machine)


def check_nodes(guest: EmulatedMachine) -> None:
    topology = guest.topology
    nodes = "/sys/devices/system/node"
    for node in range(topology.nodes):
        cpulist, distance, meminfo = guest.run(
            f"cd {nodes}/node{node} && cat cpulist distance && sed -n s/.*MemTotal://p meminfo", check=True
        ).stdout.splitlines()
        cpus = topology.cpus_of_node(node)
        assert cpulist == (f"{cpus.start}-{cpus.stop - 1}" if cpus else "")
        assert tuple(map(int, distance.split())) == topology.distance_matrix()[node]
        described, seen = topology.node_memory()[node], int(meminfo.split()[0]) // 1024
        assert described * 0.8 - 64 <= seen <= described
    siblings = guest.run("cat /sys/devices/system/cpu/cpu0/topology/thread_siblings_list", check=True).stdout
    assert siblings.strip() == ("0" if topology.threads == 1 else f"0-{topology.threads - 1}")


def check_gpus(guest: EmulatedMachine) -> None:
    gpus = guest.topology.gpu_table()
    listed = guest.run(["ls", "/proc/driver/nvidia/gpus"], check=True).stdout.split()
    assert listed == [gpu.bdf for gpu in gpus]
    for gpu in gpus:
        node, information, device = guest.run(
            f"cat /sys/bus/pci/devices/{gpu.bdf}/numa_node; "
            f"tr '\\n' '|' </proc/driver/nvidia/gpus/{gpu.bdf}/information; echo; stat -c %t:%T {gpu.device}",
            check=True,
        ).stdout.splitlines()
        assert int(node) == (-1 if gpu.node is None else gpu.node)
        assert f"Bus Location: \t {gpu.bdf}|Device Minor: \t {gpu.minor}|" in information
        assert device == f"c3:{gpu.minor:x}"


def test_eight_tasks_with_eight_gpus(machine: EmulatedMachine) -> None:
    line = "echo $SLURM_PROCID $(sed -n 's/Cpus_allowed_list:.//p' /proc/self/status)"
    done = machine.run(["srun", "-n8", "--gpus=8", "bash", "-c", line], user="user", check=True)
    ranks, cpus = zip(*(line.split() for line in done.stdout.splitlines()))
    assert sorted(ranks) == sorted(cpus) == [str(n) for n in range(8)]


def test_device_cgroup_hides_the_other_gpus(machine: EmulatedMachine) -> None:
    command = ["srun", "-n8", "--gpus-per-task=1", "python3", "-c", ACCESSIBLE]
    done = machine.run(command, user="user", check=True)
    assert sorted(done.stdout.split()) == [f"[{n}]" for n in range(8)]


def test_commands_get_user_environment_folder_and_input(machine: EmulatedMachine) -> None:
    done = machine.run(
        ["bash", "-c", "id -un; pwd; echo $WORD; umask; cat; echo seen >&2; exit 3"],
        user="mallory",
        env={"WORD": "two words"},
        cwd="/usr/lib",
        stdin="typed in",
    )
    assert done.stdout == "mallory\n/usr/lib\ntwo words\n0022\ntyped in"
    assert (done.stderr, done.status) == ("seen\n", 3)
    assert machine.run("kill -9 $$").status == 128 + signal.SIGKILL


def test_failed_command_shows_its_transcript(machine: EmulatedMachine) -> None:
    with pytest.raises(CommandError) as caught:
        machine.run("echo printed; echo complained >&2; exit 7", user="user", check=True)
    for part in ("exit 7", "printed", "complained", "status 7", "slurmctld.log", "slurmd.log"):
        assert part in str(caught.value)


def test_overlong_command_is_killed_with_its_children(machine: EmulatedMachine) -> None:
    with pytest.raises(CommandTimeoutError, match="not done after 1 s") as caught:
        machine.run("echo begun; sleep 4321 & sleep 4321", timeout=1.0)
    assert caught.value.result.stdout == "begun\n"
    assert machine.run(["pgrep", "-f", "sleep 4321"]).status == 1


def test_overlong_srun_frees_the_node(machine: EmulatedMachine) -> None:
    with pytest.raises(CommandTimeoutError):
        machine.run(["srun", "-n2", "sleep", "4321"], user="user", timeout=6.0)
    machine.settle(60.0)


def test_commands_from_several_threads(machine: EmulatedMachine) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda n: machine.run(f"sleep 1; echo {n}", check=True).stdout, range(8))
        assert list(results) == [f"{n}\n" for n in range(8)]


def test_started_command_runs_on(machine: EmulatedMachine) -> None:
    running = machine.start("read line; echo got $line", stdin="it\n")
    assert running.wait(30.0, check=True).stdout == "got it\n"
    assert running.poll() == running.wait(1.0)


def test_files_go_in_and_out(machine: EmulatedMachine, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data").write_bytes(content)
    machine.copy_in(tmp_path / "in", "/opt/copied")
    assert machine.run("stat -c '%U %s' /opt/copied/data", check=True).stdout == f"root {len(content)}\n"
    machine.copy_out("/opt/copied", tmp_path / "out")
    assert (tmp_path / "out" / "data").read_bytes() == content
    machine.put({"/home/user/script": "#!/bin/sh\necho ran\n"}, mode=0o755, user="user")
    assert machine.run(["./script"], user="user", check=True).stdout == "ran\n"


def test_booted_machine_takes_another_configuration(machine: EmulatedMachine) -> None:
    before = machine.config
    changed = SlurmConfig(
        task_plugin="task/affinity",
        constrain_devices=False,
        gres_cores=False,
        slurm_extra=("KillWait=17",),
        plugstack_conf="# none\n",
    )
    machine.configure(changed)
    try:
        shown = machine.run("scontrol show config; cat /etc/slurm/gres.conf", check=True).stdout
        assert re.search(r"^TaskPlugin\s+= task/affinity$", shown, re.M)
        assert re.search(r"^KillWait\s+= 17 sec$", shown, re.M)
        assert "Cores=" not in shown
        done = machine.run(["srun", "-n1", "--gpus=1", "python3", "-c", ACCESSIBLE], user="user", check=True)
        assert done.stdout.strip() == str(list(range(8)))
    finally:
        machine.configure(before)


def test_bad_configuration_says_why(machine: EmulatedMachine) -> None:
    with pytest.raises(CommandError, match="NoSuchWord"):
        machine.configure(SlurmConfig(slurm_extra=("NoSuchWord=1",)))
    machine.configure(SlurmConfig())


def test_qemu_dies_with_its_owner(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import threading, time
        from machine.cache import Cache
        from machine.hardware import Hardware
        from machine.image import image_for
        from machine.progress import silent
        from machine.qemu import TCG, Qemu, boot_arguments

        def start():
            image = image_for("24.11", Cache(), silent)
            print(Qemu(boot_arguments(image, Hardware(memory=256), "", TCG)).pid, flush=True)

        worker = threading.Thread(target=start)
        worker.start()
        worker.join()
        time.sleep(600)
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        time.sleep(1.0)
        assert "qemu" in Path(f"/proc/{pid}/cmdline").read_text()
        owner.kill()
    deadline = time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < deadline, f"QEMU {pid} outlived its owner"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """A zombie, which its new parent has yet to reap, no longer runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
