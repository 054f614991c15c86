"""What doctor reports of a node, and the changes that it advises, checked by running daemons.

`slurmd -G` (test_doctor_oracle.py) does not know what slurmctld refuses. Here both daemons run, slurmd with
a machine that is a tree of files, and the node is what scontrol says it is.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from builder import Machine, on_nodes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numa_align.errors import ConfError
from numa_align_conf.doctor.checks import examine
from numa_align_conf.doctor.model import Finding
from numa_align_conf.doctor.read import read_facts
from numa_align_conf.version import parse_version

from native import Native

from .slurmd_asked import put_machine
from .started import base, start

MACHINE = Machine(packages=2, cores=48, smt=2, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1))
NEAR = "Name=gpu File=/dev/nvidia[0-3] Cores=0-47\nName=gpu File=/dev/nvidia[4-7] Cores=48-95\n"
NODE = "NodeName=node1 NodeAddr=10.11.12.1 Sockets=2 CoresPerSocket=48 ThreadsPerCore=2 RealMemory=1000"


@pytest.fixture(scope="module")
def cluster(native: Native, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Native, Path]]:
    """The cluster without daemons, and the tree that doctor and slurmd read."""
    root = MACHINE.write(tmp_path_factory.mktemp("started") / "machine")
    put_machine(native, root)
    yield native, root
    native.run("pkill -x slurmctld; pkill -x slurmd; sleep 0.5")
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

OURS = ("file", "gres", "node-shape", "restricted-cores")

# PLACE: Key=VALUE Key=VALUE, as an administrator reads it.
_CHANGE = re.compile(r"(\w+\.conf):(\d+): ((?:[A-Z]\w*=\S*[^\s,] ?)+)(?:at most|, or .*)?")


def changed(files: Mapping[str, str], findings: list[Finding]) -> dict[str, str] | None:
    """The files with all of it done; None where something is left to the reader's judgement."""
    lines = {name: text.split("\n") for name, text in files.items()}
    for one in findings:
        match = _CHANGE.fullmatch(one.change)
        if match is None:
            return None
        row = lines[match[1]]
        number = int(match[2]) - 1
        for word in match[3].split():
            key = word.partition("=")[0]
            text, there = re.subn(rf"\b{key}=\S+", word, row[number])
            row[number] = text if there else f"{text} {word}"
    return {name: "\n".join(row) for name, row in lines.items()}


@st.composite
def sites(draw: st.DrawFn) -> dict[str, str]:
    """Files with what people get wrong, several at once."""
    cores = st.sampled_from(["", *(f" Cores={text}" for text in ("0-47", "48-95", "0-95", "0-23", "96-143"))])
    count = st.sampled_from(["", "", " Count=4", " Count=8"])
    kind = draw(st.sampled_from(["", "", " Type=h100"]))
    lines = "".join(
        f"Name=gpu{kind}{draw(count)} File=/dev/nvidia{files}{draw(cores)}\n" for files in ("[0-3]", "[4-7]")
    )
    gres = draw(st.sampled_from(["gpu:8", "gpu:8", "gpu:4", "gpu:12", "gpu:h100:8", "gpu", "gpu:1K"]))
    kept = draw(st.sampled_from(["", "", " RestrictedCoresPerGPU=4", " RestrictedCoresPerGPU=40"]))
    shape = draw(st.sampled_from([NODE, NODE, NODE.replace("Sockets=2 Cores", "Sockets=1 Cores")]))
    files = site(f"Gres={gres}{kept}", lines)
    return {**files, "slurm.conf": files["slurm.conf"].replace(NODE, shape)}


@given(files=sites())
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_all_changes_done_together_leave_an_idle_node(
    cluster: tuple[Native, Path], files: dict[str, str]
) -> None:
    """One change may bring to light what another hid; none may come twice, or lead to no end."""
    native, root = cluster
    if native.slurm == "22.05":
        files = {**files, "slurm.conf": re.sub(r" RestrictedCoresPerGPU=\d+", "", files["slurm.conf"])}
    said = [str(files)]
    findings: list[Finding] = []
    for _ in range(4):
        findings = [one for one in told(native, root, files) if one.check.startswith(OURS)]
        said.append("\n".join(f"{one.check}: {one.what} -> {one.change}" for one in findings))
        if not findings:
            break
        after = changed(files, findings)
        if after is None:
            return  # something is left to the reader's judgement
        assert after != files, said
        files = after
        said.append(str(files))
    assert findings == [], "\n".join(said)
    node = start(native, {**files, "slurm.conf": base(native) + files["slurm.conf"]})
    right = node.state == "IDLE" and re.search(r"\bgpu:(?:h100:)?8\b", node.gres)
    assert right, "\n".join([*said, str(node)])
