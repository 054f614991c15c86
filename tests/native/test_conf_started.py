"""What `numa-align conf` writes, and a site's files with its --diff applied, checked by real daemons.

slurmctld and slurmd are started before and after on a machine that is a tree of files: the node is idle, its
GPUs are counted, and no daemon complains of what it did not complain of before. Then doctor finds nothing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

import pytest
from builder import Device, ExtraNode, Machine, on_nodes
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numa_align.cpulist import format_cpumap, parse_cpulist
from numa_align_conf.cli.conf import command
from numa_align_conf.doctor.checks import examine
from numa_align_conf.doctor.read import read_facts
from numa_align_conf.layout import layout_of
from numa_align_conf.version import parse_version

from native import Native

from .slurmd_asked import put_machine
from .started import base, counted, device_files, put_devices, start, stop, whole

#: Small, so that the machine under the namespaces has as much.
MEMORY = 256 << 20


def amd(*nodes: int) -> tuple[Device, ...]:
    return on_nodes(*nodes, vendor=0x1002, device=0x740C, driver="amdgpu", model=None)


#: Shapes that sites have; `Machine` says what a count means.
MACHINES = {
    "two packages": Machine(packages=2, cores=8, smt=2, gpus=on_nodes(0, 0, 1, 1)),
    "one thread a core": Machine(packages=2, cores=8, gpus=on_nodes(0, 0, 1, 1)),
    "NPS2": Machine(packages=2, nodes=2, cores=8, smt=2, gpus=on_nodes(0, 1, 2, 3)),
    "NPS4": Machine(packages=2, nodes=4, caches=2, cores=4, smt=2, gpus=on_nodes(3, 3, 1, 1, 7, 7, 5, 5)),
    "SNC3": Machine(packages=2, nodes=3, cores=4, smt=2, gpus=on_nodes(0, 2, 3, 5)),
    "one package of four nodes": Machine(nodes=4, caches=2, cores=4, smt=2, gpus=amd(3, 3, 1, 1, 0, 0, 2, 2)),
    "AMD": Machine(packages=2, cores=8, smt=2, gpus=amd(0, 0, 1, 1)),
    "memory-only node": Machine(
        packages=2, cores=4, smt=2, gpus=on_nodes(0, 1), extra_nodes=(ExtraNode(4, MEMORY),)
    ),
    "four packages": Machine(packages=4, cores=4, gpus=on_nodes(2, 0, 3, 1)),
    "four packages in pairs": Machine(
        packages=4, cores=4, smt=2, gpus=on_nodes(0, 1, 2, 3),
        matrix=((10, 11, 30, 30), (11, 10, 30, 30), (30, 30, 10, 11), (30, 30, 11, 10)),
    ),
    "one node": Machine(cores=8, smt=2, gpus=on_nodes(0, 0)),
    "GPUs of no node": Machine(packages=2, cores=4, gpus=on_nodes(None, None, source="none")),
    "all GPUs on one node": Machine(packages=2, cores=8, smt=2, gpus=on_nodes(1, 1)),
    "threads side by side": Machine(packages=2, cores=4, smt=4, siblings_apart=False, gpus=on_nodes(0, 1)),
    "cores of one and two threads": Machine(cores=8, smt=2, offline=(12, 13, 14, 15), gpus=on_nodes(0, 0)),
    "guest whose cells cut packages": Machine(
        packages=2, cores=8, smt=2, siblings_apart=False, gpus=on_nodes(0, 0, 1, 1)
    ),
    "packages without numbers": Machine(packages=2, cores=4, smt=2, gpus=on_nodes(0, 1)),
}  # fmt: skip


def _cut(root: Path) -> None:
    cells = {0: "0-7,16-23", 1: "8-15,24-31"}
    for node, cpus in cells.items():
        own = root / f"sys/devices/system/node/node{node}"
        (own / "cpulist").write_text(f"{cpus}\n")
        (own / "cpumap").write_text(format_cpumap(parse_cpulist(cpus)) + "\n")
    for own in (path.parent for path in root.glob("sys/devices/pci*/*/*/numa_node")):
        cpus = cells[int((own / "numa_node").read_text())]
        (own / "local_cpulist").write_text(f"{cpus}\n")
        (own / "local_cpus").write_text(format_cpumap(parse_cpulist(cpus)) + "\n")


def _unnumbered(root: Path) -> None:
    for file in root.glob("sys/devices/system/cpu/cpu*/topology/physical_package_id"):
        file.write_text("-1\n")


#: What the builder cannot express.
ODD = {"guest whose cells cut packages": _cut, "packages without numbers": _unnumbered}


@dataclass(frozen=True)
class Asked:
    """A running cluster, and one of the machines in it."""

    native: Native
    name: str
    machine: Machine
    root: Path

    @property
    def files(self) -> tuple[str, ...]:
        """The GPUs' device files, by address."""
        return device_files(self.machine)


@pytest.fixture(scope="module", params=MACHINES)
def asked(
    request: pytest.FixtureRequest, native: Native, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    name: str = request.param
    machine = replace(MACHINES[name], memory_bytes=MEMORY)
    root = machine.write(tmp_path_factory.mktemp("conf") / "machine")
    ODD.get(name, lambda _: None)(root)
    put_machine(native, root)
    found = Asked(native, name, machine, root)
    put_devices(native, found.files)
    yield found
    stop(native)


@pytest.fixture(scope="module", autouse=True)
def restored(native: Native) -> Iterator[None]:
    """The cluster as other modules have it."""
    yield
    native.configure(native.config)


def conf(asked: Asked, part: str, *more: str) -> str:
    words = [part, "--root", str(asked.root), "--node", "node1", "--slurm-version", asked.native.slurm]
    result = CliRunner().invoke(command, [*words, *more])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def applied(asked: Asked, part: str, folder: Path) -> None:
    """What an administrator does with --diff."""
    difference = conf(asked, part, "--diff", str(folder / f"{part}.conf"))
    if difference:
        patch = ["patch", "--quiet", "--no-backup-if-mismatch", str(folder / f"{part}.conf")]
        subprocess.run(patch, input=difference.encode(), check=True, cwd=folder)


def wrong(asked: Asked, files: Mapping[str, str], folder: Path) -> list[str]:
    """What doctor finds of GPUs and the node's shape."""
    for name, text in files.items():
        (folder / name).write_text(text)
    version = parse_version(asked.native.slurm)
    facts = read_facts(str(asked.root), name="node1", slurm_conf=folder / "slurm.conf", version=version)
    about = ("gres", "node-shape", "numa-sockets")
    found = [one for one in examine(facts) if one.status != "ok" and one.check.startswith(about)]
    return [f"{one.check}: {one.what} -> {one.change}" for one in found]


def site(asked: Asked, node: str, gres: Optional[str], more: str = "") -> dict[str, str]:
    texts = {
        "slurm.conf": base(asked.native)
        + f"GresTypes=gpu\n{more}{node}\nPartitionName=main Nodes=node1 Default=YES\n"
    }
    return texts if gres is None else {**texts, "gres.conf": gres}


def assert_taken(asked: Asked, files: Mapping[str, str], before: frozenset[str]) -> None:
    after = start(asked.native, files)
    number = len(asked.machine.gpus)
    new = sorted(after.complaints - before)
    own = files["slurm.conf"].partition("GresTypes")[2]
    said = f"{after.state} {after.reason} {after.gres} {new}\n{own}\n{files.get('gres.conf')}"
    assert (after.state, counted(after.gres), new) == ("IDLE", number, []), said


def test_what_is_written_is_taken_by_slurm(asked: Asked, tmp_path: Path) -> None:
    """slurm.conf and gres.conf as they are printed, in a cluster that has nothing else of the node."""
    files = whole(asked.native, conf(asked, "slurm"), conf(asked, "gres"))
    plain = start(asked.native, site(asked, "NodeName=node1 NodeAddr=10.11.12.1", None))
    assert_taken(asked, files, plain.complaints)
    assert wrong(asked, files, tmp_path) == []


# -- A site's files, with the changes that are proposed ----------------------------------------------


@st.composite
def sites(draw: st.DrawFn, asked: Asked) -> dict[str, str]:
    """Files as people write them, right and wrong."""
    from numa_align.topology.read import read_at  # noqa: PLC0415

    sockets, cores, threads = layout_of(read_at(asked.root), "package").shape
    number = len(asked.files)
    shape = draw(
        st.sampled_from(
            [
                f"Sockets={sockets} CoresPerSocket={cores} ThreadsPerCore={threads}",
                f"Boards=1 SocketsPerBoard={sockets} CoresPerSocket={cores} ThreadsPerCore={threads}",
                f"CPUs={sockets * cores * threads} Sockets={sockets} CoresPerSocket={cores} "
                f"ThreadsPerCore={threads}",
                f"CPUs={sockets * cores} Sockets={sockets} CoresPerSocket={cores} ThreadsPerCore={threads}",
                f"CPUs={sockets * cores * threads}",
                f"Sockets=1 CoresPerSocket={sockets * cores} ThreadsPerCore={threads}",
                "",
            ]
        )
    )
    gres = draw(st.sampled_from([f"Gres=gpu:{number}", f"Gres=gpu:big:{number}", "Gres=gpu:1", ""]))
    kind = draw(st.sampled_from([" Type=big" if "big" in gres else "", ""]))
    half = number // 2
    total = sockets * cores
    near = f"Name=gpu{kind} File={{}} Cores={{}}-{{}}\n"
    lines = draw(
        st.sampled_from(
            [
                None,
                "",
                "AutoDetect=nvml\n",
                "AutoDetect=off\n",
                *(
                    f"{begin}Name=gpu{kind} File={','.join(asked.files)}{what}\n"
                    for begin in ("", "NodeName=node1 ", "NodeName=node[1-4] ")
                    for what in ("", f" Cores=0-{total - 1}", " Cores=0")
                ),
                "AutoDetect=off\n"
                + near.format(",".join(asked.files[:half]), 0, total // 2 - 1)
                + near.format(",".join(asked.files[half:]), total // 2, total - 1),
                "".join(f"Name=gpu{kind} File={file} Count=1\n" for file in asked.files),
            ]
        )
    )
    memory = draw(st.sampled_from(["RealMemory=100", "RealMemory=100", ""]))
    node = f"NodeName=node1 NodeAddr=10.11.12.1 {shape} {memory} {gres}"
    default = draw(st.sampled_from(["", "", "NodeName=DEFAULT Weight=2 State=UNKNOWN\n"]))
    return site(asked, node, lines, default)


@given(data=st.data())
@settings(
    max_examples=4,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # each example starts daemons four times
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_changed_files_are_taken_by_slurm(
    asked: Asked, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = data.draw(sites(asked))
    before = start(asked.native, files)
    folder = tmp_path_factory.mktemp("site")
    for name in ("slurm.conf", "gres.conf"):
        (folder / name).write_text(files.get(name, ""))
    applied(asked, "gres", folder)
    applied(asked, "slurm", folder)
    changed = {path.name: path.read_text() for path in folder.glob("*.conf")}
    assert_taken(asked, changed, before.complaints)
    assert wrong(asked, changed, folder) == []
    for part in ("gres", "slurm"):
        assert conf(asked, part, "--diff", str(folder / f"{part}.conf")) == "", changed
