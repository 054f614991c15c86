"""What ``numa-align conf`` writes is taken by real Slurm as it is, and places jobs on their GPUs' cores.

The short form runs on two machines with Slurm 24.11; `make test-matrix` on five with three versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from machine import Machine, SlurmConfig, Topology
from numa_align.cpulist import parse_cpulist
from numa_align_conf.conffile import parse_conf
from numa_align_conf.edit import edited_cgroup, edited_slurm
from numa_align_conf.facts import Kind, host_memory_mib, parse_topology
from numa_align_conf.facts import Machine as Facts
from numa_align_conf.gres import gres_conf
from numa_align_conf.slurm import node_lines, settings
from numa_align_conf.version import parse_version

# Each machine takes minutes: not for every run.
pytestmark = [pytest.mark.machine, pytest.mark.matrix]

ROOT = Path(__file__).resolve().parents[2]

TWO = Topology()
NPS4 = Topology(packages=1, nodes_per_package=4, cores_per_node=2, memory=384, gpus=(3, 3, 1, 1, 2, 2, 0, 0))
MACHINES = {
    "two nodes": TWO,
    "NPS4": NPS4,
    "SMT": Topology(cores_per_node=2, threads=2, gpus=(0, 0, 1, 1)),
    "one package": Topology(packages=1, cores_per_node=8, memory=1024, gpus=(0, 0, 0, 0)),
    "GPUs out of order": Topology(gpus=(1, 0, 1, 1, 0, 0, 1, 0), minors=(5, 2, 7, 0, 1, 6, 3, 4)),
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


def generated(machine: Machine) -> Generated:
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


def complaints(machine: Machine) -> list[str]:
    """Lines of the daemons' logs since they started that are errors or warnings."""
    text = machine.run("cat /var/log/slurm/*.log /var/log/slurm/*.start", check=True).stdout
    wrong = re.compile(r"\b(error|warning|fatal|inval|drain|differ|mismatch)", re.IGNORECASE)
    return [line for line in text.splitlines() if wrong.search(line) and not NOISE.search(line)]


def cores_of_slurmd(machine: Machine) -> dict[int, tuple[int, ...]]:
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


#: Three allocations at a time, each asked for by a process of its own, beside one that is kept from before:
#: nodes are partly taken then. Four fit on each machine. No step is launched: what slurmctld allocates
#: is the question.
ALLOCATE = r"""
cd "$(mktemp -d)"
kept=
asked=0
for ((round = 0; asked < @JOBS@; round++)); do
    for ((i = 0; i < 3 && asked < @JOBS@; i++, asked++)); do
        salloc --no-shell -n1 -c$((asked % 2 + 1)) --gpus=1 --gres-flags=enforce-binding 2>$i &
    done
    wait
    new=($(sed -n 's/.*Granted job allocation //p' *))
    scontrol -d show job >jobs
    for id in "${new[@]}"; do
        sed -n "/^JobId=$id /,/^\$/s/.*CPU_IDs=\(\S*\) .*(IDX:\([0-9]*\)).*/\1 \2/p" jobs
    done
    held=($kept "${new[@]}")
    kept=${held[$((round % ${#held[@]}))]}
    rm *
    scancel $(printf '%s\n' "${held[@]}" | grep -vx "$kept")
done
scancel "$kept"
"""

#: Without what runs on the node, which takes seconds a job on this machine and places nothing.
SCRIPTS = re.compile(r"^(Prolog|Epilog|PrologFlags)=.*\n", re.MULTILINE)


def near(machine: Machine, kind: Kind, jobs: int, order: list[int]) -> int:
    """Of so many allocations with one GPU, half of them with two CPUs, how many have CPUs of its node only.

    ``order`` has the minors by Slurm's index. This machine numbers CPUs core by core, so that Slurm's
    numbers are Linux's; that they are is compared with what a task sees.
    """
    look = "echo $(sed -n 's/Cpus_allowed_list:.//p' /proc/self/status); scontrol -d show job $SLURM_JOB_ID"
    command = ["srun", "-n1", "--gpus=1", "--gres-flags=enforce-binding", "sh", "-c", look]
    seen = machine.run(command, user="user", check=True).stdout
    told = re.findall(r"CPU_IDs=(\S+)", seen)[0]
    assert parse_cpulist(seen.splitlines()[0]) == parse_cpulist(told)
    cpus_of = {gpu.minor: set(gpu.cpus) for gpu in kind.topology.gpus}
    script = ALLOCATE.replace("@JOBS@", str(jobs))
    done = machine.run(["bash", "-c", script], user="user", timeout=900, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == jobs, done.stdout + done.stderr
    pairs = (line.split() for line in lines)
    return sum(cpus_of[order[int(index)]].issuperset(parse_cpulist(cpus)) for cpus, index in pairs)


def check(machine: Machine, jobs: int) -> None:
    """The whole statement for a machine that runs."""
    made = generated(machine)
    order = [gpu.minor for gpu in made.kind.topology.gpus if gpu.minor is not None]
    if machine.config != usual(machine):
        machine.configure(usual(machine))
    theirs = near(machine, made.kind, jobs, sorted(order))
    machine.configure(made.config)
    found = complaints(machine)
    assert not found, "\n".join(found)
    # Without the driver's files: 24.11 looks for GPUs here, and crashes where they have no driver in sysfs.
    shape = machine.run("unshare --mount sh -c 'umount /proc/driver; exec slurmd -C'", check=True).stdout
    assert f"CPUs={len(made.kind.topology.online)} " in shape
    real = int(re.findall(r"RealMemory=(\d+)", shape)[0])
    assert real - 8 <= made.kind.memory_mib <= real
    assert cores_of_slurmd(machine) == intended(made.kind)
    machine.configure(replace(made.config, slurm_conf=SCRIPTS.sub("", made.config.slurm_conf or "")))
    ours = near(machine, made.kind, jobs, order)
    print(f"Slurm {machine.slurm}: {ours} of {jobs} near; without Cores= {theirs}")
    assert ours == jobs
    nodes = {gpu.node for gpu in machine.topology.gpu_table()}
    assert len(nodes) == 1 or theirs < jobs


def usual(machine: Machine) -> SlurmConfig:
    """What deployers write: a range of all GPUs, no Cores=."""
    files = f"/dev/nvidia[0-{len(machine.topology.gpus) - 1}]"
    gres = f"NodeName={machine.name} Name=gpu File={files}\n"
    return SlurmConfig(gres_conf=gres, prolog=None, epilog=None, prolog_flags=None)


def test_two_nodes(machine: Machine) -> None:
    before = machine.config
    try:
        check(machine, 16)
    finally:
        machine.configure(before)


@pytest.fixture
def nps4() -> Iterator[Machine]:
    machine = Machine(NPS4, project=ROOT)
    machine.config = usual(machine)
    with machine:
        yield machine


def test_nodes_smaller_than_packages(nps4: Machine) -> None:
    check(nps4, 16)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MACHINES)
def test_every_version_on_every_machine(name: str, version: str) -> None:
    machine = Machine(MACHINES[name], version, project=ROOT)
    machine.config = usual(machine)
    with machine:
        check(machine, 50)
