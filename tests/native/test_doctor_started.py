"""What doctor reports of a node, and the changes that it advises, checked by running daemons.

`slurmd -G` (test_doctor_oracle.py) does not know what slurmctld refuses. Here both daemons run, slurmd with
a machine that is a tree of files, and the node is what scontrol says it is.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from builder import Machine, on_nodes
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numa_align.errors import ConfError
from numa_align.topology.read import read_at
from numa_align_conf.doctor.checks import examine
from numa_align_conf.doctor.model import Finding
from numa_align_conf.doctor.read import read_facts
from numa_align_conf.layout import layout_of
from numa_align_conf.version import parse_version

from native import Native

from .slurmd_asked import put_machine
from .started import base, device_files, put_devices, start, stop

MACHINE = Machine(packages=2, cores=48, smt=2, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1))
NEAR = "Name=gpu File=/dev/nvidia[0-3] Cores=0-47\nName=gpu File=/dev/nvidia[4-7] Cores=48-95\n"
NODE = "NodeName=node1 NodeAddr=10.11.12.1 Sockets=2 CoresPerSocket=48 ThreadsPerCore=2 RealMemory=1000"


@pytest.fixture(scope="module")
def cluster(native: Native, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Native, Path]]:
    """The cluster without daemons, and the tree that doctor and slurmd read."""
    root = MACHINE.write(tmp_path_factory.mktemp("started") / "machine")
    put_machine(native, root)
    yield native, root
    stop(native)
    native.configure(native.config)


def told(native: Native, root: Path, files: Mapping[str, str]) -> list[Finding]:
    """What doctor says is not ok; what is wrong in a file that it refuses is one finding."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
        conf = Path(folder) / "slurm.conf"
        try:
            facts = read_facts(str(root), name="node1", slurm_conf=conf, version=parse_version(native.slurm))
        except ConfError as error:
            return [Finding("file", "fail", str(error))]
        found = [one for one in examine(facts) if one.status != "ok"]
        return [
            replace(one, what=one.what.replace(f"{folder}/", ""), change=one.change.replace(f"{folder}/", ""))
            for one in found
        ]


def site(gres: str = "Gres=gpu:8", lines: str = NEAR, more: str = "") -> dict[str, str]:
    return {
        "slurm.conf": f"{more}GresTypes=gpu\n{NODE} {gres}\nPartitionName=main Nodes=node1 Default=YES\n",
        "gres.conf": lines,
    }


@pytest.mark.parametrize(
    ("number", "lines", "right"),
    [(1, NEAR, True), (12, NEAR, True), (13, NEAR, False), (1, "Name=gpu File=/dev/nvidia[0-7]\n", False)],
)
def test_doctor_says_of_kept_cores_what_slurmctld_says(
    number: int, lines: str, right: bool, cluster: tuple[Native, Path]
) -> None:
    native, root = cluster
    if native.slurm == "22.05":
        pytest.skip("22.05 has no RestrictedCoresPerGPU")
    files = site(f"Gres=gpu:8 RestrictedCoresPerGPU={number}", lines)
    found = [one for one in told(native, root, files) if one.check == "restricted-cores"]
    node = start(native, {**files, "slurm.conf": base(native) + files["slurm.conf"]})
    assert (node.state == "IDLE", not found) == (right, right), (node, found)
    for one in found:
        quoted = re.search(r"\(the GPU (.*)\)", one.what)
        assert quoted is not None and quoted[1] in node.reason


@pytest.mark.parametrize("pattern", [True, False])
def test_doctor_says_of_included_plugins_what_slurmctld_says(
    pattern: bool, cluster: tuple[Native, Path]
) -> None:
    native, root = cluster
    if native.slurm == "22.05":
        pytest.skip("22.05 does not look at what plugstack.conf includes")
    files = site(more="SlurmctldParameters=enable_configless\n")
    files["plugstack.conf"] = "include more.d/*.conf\n" if pattern else "# a direct line\n"
    found = [one for one in told(native, root, files) if one.check == "configless"]
    node = start(native, {**files, "slurm.conf": base(native) + files["slurm.conf"]})
    assert ("does not support glob parsing" in node.errors, bool(found)) == (pattern, pattern), (node, found)


# -- What doctor tells to change, all of it done together --------------------------------------------

OURS = ("file", "gres", "node-shape", "numa-sockets", "restricted-cores", "slurm-line", "key-twice")

#: Shapes whose Cores= and sockets are told apart differently; `Machine` says what a count means.
SHAPES = {
    "two packages": MACHINE,
    "one thread a core": Machine(packages=2, cores=8, gpus=on_nodes(0, 0, 1, 1)),
    "NPS2": Machine(packages=2, nodes=2, cores=8, smt=2, gpus=on_nodes(0, 1, 2, 3)),
    "one node": Machine(cores=8, smt=2, gpus=on_nodes(0, 0, 0, 0)),
    "four packages": Machine(packages=4, cores=4, smt=2, gpus=on_nodes(2, 0, 3, 1)),
    "AMD": Machine(
        packages=2,
        cores=8,
        smt=2,
        gpus=on_nodes(0, 0, 1, 1, vendor=0x1002, device=0x740C, driver="amdgpu", model=None),
    ),
}


@dataclass(frozen=True)
class Asked:
    """A cluster without daemons, a machine and its tree; the GPUs' device files by address."""

    native: Native
    machine: Machine
    root: Path

    @property
    def files(self) -> tuple[str, ...]:
        return device_files(self.machine)


@pytest.fixture(scope="module", params=SHAPES)
def asked(
    request: pytest.FixtureRequest, cluster: tuple[Native, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    native, tree = cluster
    machine = SHAPES[request.param]
    root = machine.write(tmp_path_factory.mktemp("shape") / "machine")
    put_machine(native, root)
    found = Asked(native, machine, root)
    put_devices(native, found.files)
    yield found
    put_machine(native, tree)


# PLACE: Key=VALUE Key=VALUE, as an administrator reads it; what is in parentheses explains it.
_CHANGE = re.compile(r"(\w+\.conf):(\d+): ((?:[A-Z]\w*=\S*[^\s,] ?)+)(?:at most|, or .*)?")
_REMOVE = re.compile(r"(\w+\.conf):(\d+): (?:remove|without|no) (\w+=)\S*(?:,.*)?")
_SPLIT = re.compile(r"gres\.conf:(\d+): one line for each: (.*)")
_NODES = re.compile(
    r"slurm\.conf(?::(\d+))?: (\w+=\S+?)(?: \(which holds for all nodes\))?, with "
    r"(Sockets=\d+ CoresPerSocket=\d+ ThreadsPerCore=\d+) and, in gres\.conf, (.*): all of these together"
)
_FILE_CORES = re.compile(r"File=(\S+) Cores=(\S+?)(?=, |$)")


def with_word(text: str, word: str) -> str:
    """A line on which the key of ``Key=VALUE`` has this value."""
    key = word.partition("=")[0]
    changed_text, there = re.subn(rf"\b{key}=\S+", word, text)
    return changed_text if there else f"{text} {word}"


def split(text: str, parts: str) -> str:
    """A line of gres.conf as several, each with its files and cores and without a count of them all."""
    rest = re.sub(r" (?:File|Cores|Count)=\S+", "", text)
    return "\n".join(f"{rest} File={files} Cores={cores}" for files, cores in _FILE_CORES.findall(parts))


def changed(files: Mapping[str, str], findings: list[Finding]) -> dict[str, str] | None:
    """The files with all of it done; None where something is left to the reader's judgement."""
    lines = {name: text.split("\n") for name, text in files.items()}
    for one in findings:
        if not (_apply_words(lines, one.change) or _apply_lines(lines, one.change)):
            return None
    return {name: "\n".join(row) for name, row in lines.items()}


def _apply_words(lines: dict[str, list[str]], change: str) -> bool:
    """A change of words on one line."""
    removed, match = _REMOVE.fullmatch(change), _CHANGE.fullmatch(change)
    if removed:
        row, number = lines[removed[1]], int(removed[2]) - 1
        row[number] = re.sub(rf" ?\b{removed[3]}\S*", "", row[number], count=1)
    elif match:
        row, number = lines[match[1]], int(match[2]) - 1
        for word in match[3].split():
            row[number] = with_word(row[number], word)
    return bool(removed or match)


def _apply_lines(lines: dict[str, list[str]], change: str) -> bool:
    """A change of several lines: GPUs that need one each, or NUMA nodes as sockets."""
    parted, nodes = _SPLIT.fullmatch(change), _NODES.fullmatch(change)
    gres, slurm = lines["gres.conf"], lines["slurm.conf"]
    if parted:
        gres[int(parted[1]) - 1] = split(gres[int(parted[1]) - 1], parted[2])
    elif nodes:
        node = next(n for n, text in enumerate(slurm) if text.startswith("NodeName=node1 "))
        for word in nodes[3].split():
            slurm[node] = with_word(slurm[node], word)
        if nodes[1]:
            slurm[int(nodes[1]) - 1] = with_word(slurm[int(nodes[1]) - 1], nodes[2])
        else:
            slurm[0] = f"{nodes[2]}\n{slurm[0]}"
        gpus = [n for n, text in enumerate(gres) if "Name=gpu" in text]
        gres[gpus[0]] = split(gres[gpus[0]], nodes[4])
        for n in gpus[1:]:
            gres[n] = ""
    return bool(parted or nodes)


@st.composite
def sites(draw: st.DrawFn, asked: Asked) -> dict[str, str]:
    """Files with what people get wrong, several at once."""
    layout = layout_of(read_at(asked.root), "package")
    total, number = len(layout.cores), len(asked.files)
    ranges = (
        f"0-{total // 2 - 1}",
        f"{total // 2}-{total - 1}",
        f"0-{total - 1}",
        f"{total}-{2 * total - 1}",
    )
    cores = st.sampled_from(["", *(f" Cores={text}" for text in (*ranges, "0-1"))])
    count = st.sampled_from(["", "", f" Count={number // 2}", f" Count={number}"])
    kind = draw(st.sampled_from(["", "", " Type=h100"]))
    halves = (asked.files[: number // 2], asked.files[number // 2 :])
    lines = "".join(f"Name=gpu{kind}{draw(count)} File={','.join(files)}{draw(cores)}\n" for files in halves)
    lines += draw(st.sampled_from(["", "", "AutoDetect=off\nAutoDetect=off\n"]))
    gres = draw(
        st.sampled_from(
            [f"gpu:{number}"] * 2 + ["gpu:1", f"gpu:{number + 4}", f"gpu:h100:{number}", "gpu", "gpu:1K"]
        )
    )
    kept = draw(st.sampled_from(["", "", " RestrictedCoresPerGPU=1", " RestrictedCoresPerGPU=40"]))
    sockets, per_socket, threads = layout.shape
    shape = draw(st.sampled_from([sockets, sockets, 1]))
    node = f"NodeName=node1 NodeAddr=10.11.12.1 Sockets={shape} CoresPerSocket={per_socket} "
    node += f"ThreadsPerCore={threads} RealMemory=100"
    slurm = f"GresTypes=gpu\n{node} Gres={gres}{kept}\nPartitionName=main Nodes=node1 Default=YES\n"
    return {"slurm.conf": slurm, "gres.conf": lines}


@given(data=st.data())
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_all_changes_done_together_leave_an_idle_node(asked: Asked, data: st.DataObject) -> None:
    """One change may bring to light what another hid; none may come twice, or lead to no end."""
    native = asked.native
    files = data.draw(sites(asked))
    if native.slurm == "22.05":
        files = {**files, "slurm.conf": re.sub(r" RestrictedCoresPerGPU=\d+", "", files["slurm.conf"])}
    said = [str(files)]
    findings: list[Finding] = []
    for _ in range(5):
        findings = [one for one in told(native, asked.root, files) if one.check.startswith(OURS)]
        said.append("\n".join(f"{one.check}: {one.what} -> {one.change}" for one in findings))
        if not findings:
            break
        after = changed(files, findings)
        assume(after is not None)  # else something is left to the reader's judgement
        assert after is not None
        assert after != files, said
        files = after
        said.append(str(files))
    assert findings == [], "\n".join(said)
    node = start(native, {**files, "slurm.conf": base(native) + files["slurm.conf"]})
    number = len(asked.files)
    right = node.state == "IDLE" and re.search(rf"\bgpu:(?:h100:)?{number}\b", node.gres)
    assert right, "\n".join([*said, str(node)])
