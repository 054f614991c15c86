"""What ``numa-align conf`` writes is taken by real Slurm as it is, and places jobs on their GPUs' cores.

Five machines with three versions of Slurm, each from its own facts. `numa-align doctor` agrees.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from machine import EmulatedMachine, Hardware, SlurmConfig
from numa_align.cpulist import parse_cpulist
from numa_align.slurm_files.conffile import parse_conf
from numa_align_conf.edit import edited_cgroup, edited_slurm
from numa_align_conf.facts import Kind, host_memory_mib, parse_topology
from numa_align_conf.facts import NodeFacts as Facts
from numa_align_conf.gres import gres_conf
from numa_align_conf.slurm import node_lines, settings
from numa_align_conf.version import parse_version

# Each machine takes minutes: not for every run.
pytestmark = [pytest.mark.machine, pytest.mark.matrix]

ROOT = Path(__file__).resolve().parents[2]

TWO = Hardware()
NPS4 = Hardware(packages=1, nodes_per_package=4, cores_per_node=2, memory=384, gpus=(3, 3, 1, 1, 2, 2, 0, 0))
MACHINES = {
    "two nodes": TWO,
    "NPS4": NPS4,
    "SMT": Hardware(cores_per_node=2, threads=2, gpus=(0, 0, 1, 1)),
    "one package": Hardware(packages=1, cores_per_node=8, memory=1024, gpus=(0, 0, 0, 0)),
    "GPUs out of order": Hardware(gpus=(1, 0, 1, 1, 0, 0, 1, 0), minors=(5, 2, 7, 0, 1, 6, 3, 4)),
}
VERSIONS = ("22.05", "24.11", "26.05")

#: What every daemon says on this machine whatever the configuration; none is about our files.
NOISE = re.compile(
    r"cgroup\.procs|dbus|Unable to open (job|node|trigger|reservation|association|resv|part|qos|assoc|last)"
    r"|No (last )?(job|node|trigger|reservation|association|part|fed|assoc|power|config)\S* (state|mgr)"
    r"|may be lost|High latency|_mgr state|state file|StateSaveLocation|hash_k12|slurmdbd|accounting"
    # Debian's 22.05 tries every MPI plugin, also those whose library is not installed.
    r"|pmix|MPI: Cannot create context",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Generated:
    """The three files for a machine, from its own facts and the test machine's own slurm.conf."""

    kind: Kind
    config: SlurmConfig


def generated(machine: EmulatedMachine) -> Generated:
    text = machine.run(["numa-align", "topo", "--json", "--node-name", machine.name], check=True).stdout
    topology = parse_topology(text, Path("topo.json"))
    kind = Kind((machine.name,), Facts(topology), host_memory_mib(topology))
    version = parse_version(machine.slurm)
    base = SlurmConfig(prolog=None, epilog=None, prolog_flags=None).files(
        [machine.node], cgroup=machine.cgroup, with_project=True
    )
    old = parse_conf(base["/etc/slurm/slurm.conf"], Path("slurm.conf"), "slurm.conf")
    new = edited_slurm(old, settings([kind], version), node_lines([kind], version))[old.path]
    cgroup = parse_conf(base["/etc/slurm/cgroup.conf"], Path("cgroup.conf"), "cgroup.conf")
    config = SlurmConfig(
        slurm_conf=new, gres_conf=gres_conf([kind], version), cgroup_conf=edited_cgroup(cgroup)[cgroup.path]
    )
    return Generated(kind, config)


def complaints(machine: EmulatedMachine) -> list[str]:
    """Lines of the daemons' logs since they started that are errors or warnings."""
    text = machine.run("cat /var/log/slurm/*.log /var/log/slurm/*.start", check=True).stdout
    wrong = re.compile(r"\b(error|warning|fatal|inval|drain|differ|mismatch)", re.IGNORECASE)
    return [line for line in text.splitlines() if wrong.search(line) and not NOISE.search(line)]


def cores_of_slurmd(machine: EmulatedMachine) -> dict[int, tuple[int, ...]]:
    """Minor -> Cores, as `slurmd -G` prints them."""
    done = machine.run(["slurmd", "-G", "-N", machine.name], check=True)
    found = {}
    for line in (done.stdout + done.stderr).splitlines():
        match = re.search(r"Gres Name=gpu .*File=/dev/nvidia(\S+) .*?Cores=(\S+)", line)
        if match:
            found.update(dict.fromkeys(parse_cpulist(match[1].strip("[]")), parse_cpulist(match[2])))
    return found


def intended(kind: Kind) -> dict[int, tuple[int, ...]]:
    """Minor -> abstract cores of its node, by a rule of its own: this machine numbers CPUs core by core."""
    threads = len(kind.topology.cores[0].cpus)
    return {
        gpu.minor: tuple(sorted({cpu // threads for cpu in gpu.cpus}))
        for gpu in kind.topology.gpus
        if gpu.minor is not None
    }


ALLOCATE_FILE = Path(__file__).with_name("allocate.c")
BUILD = "cc -DSLURM_BACKWARD_COMPAT -o /opt/allocate /opt/allocate.c -lslurm"

#: Without prolog and epilog, which take seconds per job on this machine and place nothing.
SCRIPTS = re.compile(r"^(Prolog|Epilog|PrologFlags)=.*\n", re.MULTILINE)


def near(machine: EmulatedMachine, kind: Kind, jobs: int, order: list[int]) -> int:
    """How many of these allocations of one GPU, half of them with two CPUs, have only CPUs of its node.

    ``order`` has the minors by Slurm's index. Slurm's numbers of CPUs are Linux's here, see `numbers_hold`.
    """
    # Without Cores= such a job takes a core of every socket: of four cores there are two at a time then.
    narrow = "Cores=" not in (machine.config.gres_conf or "") and len(kind.topology.cores) < 8
    command = ["/opt/allocate", str(jobs), "1" if narrow else "3"]
    done = machine.run(command, user="user", timeout=900, check=True)
    shown = re.findall(r"JobId=(\d+)\nCPU_IDs=(\S+) Mem=\d+ GRES=\S*IDX:(\d+)", done.stdout)
    given = {job: (cpus, order[int(index)]) for job, cpus, index in shown}
    assert len(given) == jobs, done.stdout + done.stderr
    print("CPUs, GPU:", "; ".join(f"{cpus}, {minor}" for cpus, minor in given.values()))
    cpus_of = {gpu.minor: set(gpu.cpus) for gpu in kind.topology.gpus}
    return sum(cpus_of[minor].issuperset(parse_cpulist(cpus)) for cpus, minor in given.values())


def numbers_hold(machine: EmulatedMachine) -> bool:
    """Whether a task sees the CPUs that scontrol names: the machine numbers them as Slurm does."""
    look = "echo $(sed -n 's/Cpus_allowed_list:.//p' /proc/self/status); scontrol -d show job $SLURM_JOB_ID"
    command = ["srun", "-n1", "--gpus=1", "--gres-flags=enforce-binding", "sh", "-c", look]
    seen = machine.run(command, user="user", check=True).stdout
    return parse_cpulist(seen.splitlines()[0]) == parse_cpulist(re.findall(r"CPU_IDs=(\S+)", seen)[0])


def ill(machine: EmulatedMachine, user: str) -> dict[str, str]:
    """Check -> status of what `numa-align doctor` finds not to be ok."""
    done = machine.run(["numa-align", "doctor", "--json", "--node-name", machine.name], user=user)
    findings = json.loads(done.stdout)["findings"]
    found = {finding["check"]: finding["status"] for finding in findings if finding["status"] != "ok"}
    worst = "fail" if "fail" in found.values() else "warn" if found else "ok"
    assert done.status == {"ok": 0, "warn": 1, "fail": 3}[worst]
    return found


#: What is so on this machine: an emulated CPU is slow, and a minimal Debian leaves the kernel as it is.
OF_THE_MACHINE = {"prolog-slow", "kernel", "huge-pages"}


def doctor_finds_what_is_usual_wrong(machine: EmulatedMachine) -> None:
    for user in ("root", "user"):
        assert {"gres-cores-missing", "prolog"} <= ill(machine, user).keys()


def doctor_finds_nothing_wrong(machine: EmulatedMachine) -> None:
    for user in ("root", "user"):
        found = ill(machine, user)
        assert found.keys() <= OF_THE_MACHINE
        assert "fail" not in found.values()


def check(machine: EmulatedMachine, jobs: int, *, examined: bool) -> None:
    """The whole statement for a machine that runs with the usual configuration.

    ``examined``: doctor is asked too, which takes long on an emulated machine.
    """
    made = generated(machine)
    assert len(made.kind.topology.cores) * machine.topology.threads == machine.topology.cpus
    order = [gpu.minor for gpu in made.kind.topology.gpus if gpu.minor is not None]
    machine.copy_in(ALLOCATE_FILE, "/opt/allocate.c")
    machine.run(BUILD, check=True)
    theirs = near(machine, made.kind, jobs, sorted(order))
    if examined:
        doctor_finds_what_is_usual_wrong(machine)
    machine.configure(made.config)
    found = complaints(machine)
    assert not found, "\n".join(found)
    # Without the driver's files: 24.11 looks for GPUs here, and crashes where they have no driver in sysfs.
    shape = machine.run("unshare --mount sh -c 'umount /proc/driver; exec slurmd -C'", check=True).stdout
    assert f"CPUs={len(made.kind.topology.online)} " in shape
    real = int(re.findall(r"RealMemory=(\d+)", shape)[0])
    assert real - 8 <= made.kind.memory_mib <= real
    assert cores_of_slurmd(machine) == intended(made.kind)
    assert numbers_hold(machine)
    if examined:
        doctor_finds_nothing_wrong(machine)
    machine.configure(replace(made.config, slurm_conf=SCRIPTS.sub("", made.config.slurm_conf or "")))
    ours = near(machine, made.kind, jobs, order)
    print(f"Slurm {machine.slurm}: {ours} of {jobs} near; without Cores= {theirs}")
    assert ours == jobs
    nodes = {gpu.node for gpu in machine.topology.gpu_table()}
    assert len(nodes) == 1 or theirs < jobs


def usual(machine: EmulatedMachine) -> SlurmConfig:
    """What deployers write: a range of all GPUs, no Cores=."""
    files = f"/dev/nvidia[0-{len(machine.topology.gpus) - 1}]"
    gres = f"NodeName={machine.name} Name=gpu File={files}\n"
    return SlurmConfig(gres_conf=gres, prolog=None, epilog=None, prolog_flags=None)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MACHINES)
def test_every_version_on_every_machine(name: str, version: str) -> None:
    machine = EmulatedMachine(MACHINES[name], version, project=ROOT)
    machine.config = usual(machine)
    with machine:
        check(machine, 50, examined=name == "two nodes")
