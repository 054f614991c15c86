"""``conf --diff``: what would change in a file, and nothing else; the file stays as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builder import Machine, on_nodes
from numa_align.errors import ConfError
from numa_align_conf.facts import Kind
from numa_align_conf.facts import NodeFacts as Facts
from numa_align_conf.generate import ConfRequest, compare, generate
from numa_align_conf.version import Version

TWO = Machine(packages=2, cores=8, smt=2, gpus=on_nodes(0, 0, 1, 1))
REQUEST = ConfRequest((Kind(("gpu01", "gpu02"), Facts(TWO.topology()), 128000),), Version(24, 11))

SLURM = """\
# Our cluster
ClusterName=big
SlurmctldHost=head
TaskPlugin=task/none          # for now
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PrologFlags=X11
NodeName=gpu[01-02] Sockets=1 CoresPerSocket=16 \\
   ThreadsPerCore=2 RealMemory=100000 Weight=7 Gres=gpu:4
NodeName=cpu[01-99] CPUs=64
PartitionName=main Nodes=ALL
"""


def changes(
    part: str, text: str, tmp_path: Path, request: ConfRequest = REQUEST
) -> tuple[list[str], list[str]]:
    """Lines that go and lines that come."""
    path = tmp_path / f"{part}.conf"
    path.write_text(text)
    diff = compare(part, request, path).splitlines()[2:]
    assert path.read_text() == text
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    removed = [line[1:] for line in diff if line.startswith("-")]
    return removed, [
        line[1:] for line in diff if line.startswith("+") and not line.startswith("+#") and line != "+"
    ]


def test_slurm_conf_keeps_what_is_the_sites(tmp_path: Path) -> None:
    removed, added = changes("slurm", SLURM, tmp_path)
    assert removed == [
        "TaskPlugin=task/none          # for now",
        "SelectTypeParameters=CR_Core_Memory",
        "PrologFlags=X11",
        "NodeName=gpu[01-02] Sockets=1 CoresPerSocket=16 \\",
        "   ThreadsPerCore=2 RealMemory=100000 Weight=7 Gres=gpu:4",
    ]
    assert "TaskPlugin=task/affinity,task/cgroup" in added
    assert "SelectTypeParameters=CR_Core_Memory,ENFORCE_BINDING_GRES" in added
    assert "PrologFlags=X11,Alloc,Contain" in added
    assert (
        "NodeName=gpu[01-02] CPUs=32 Boards=1 SocketsPerBoard=2 CoresPerSocket=8 ThreadsPerCore=2 "
        "RealMemory=100000 Weight=7 Gres=gpu:4"
    ) in added
    assert not any("cpu[01-99]" in line for line in added)


def test_a_changed_line_comes_with_its_reason_once(tmp_path: Path) -> None:
    path = tmp_path / "slurm.conf"
    path.write_text("SelectType=select/cons_tres\nSelectTypeParameters=CR_Core_Memory\n")
    added = [line[1:] for line in compare("slurm", REQUEST, path).splitlines() if line.startswith("+")]
    at = added.index("SelectTypeParameters=CR_Core_Memory,ENFORCE_BINDING_GRES")
    reason = added[at - 2 : at]
    assert all(line.startswith("# ") for line in reason)
    assert "jobs may wait longer" in " ".join(line[2:] for line in reason)
    path.write_text("\n".join(["SelectType=select/cons_tres", *reason, "SelectTypeParameters=CR_Core", ""]))
    assert f"+{reason[0]}" not in compare("slurm", REQUEST, path)


def test_a_node_line_is_divided_if_only_some_nodes_are_known(tmp_path: Path) -> None:
    _, added = changes("slurm", "NodeName=gpu[01-04] CPUs=32 State=UNKNOWN\n", tmp_path)
    assert any(line.startswith("NodeName=gpu[01-02] CPUs=32 Boards=1") for line in added)
    assert "NodeName=gpu[03-04] CPUs=32 State=UNKNOWN" in added


def test_what_runs_along_with_the_names_is_divided_with_them(tmp_path: Path) -> None:
    text = "NodeName=gpu[01-04] NodeAddr=10.0.0.[9-10,21-22] Port=[7001-7004] CPUs=32\n"
    _, added = changes("slurm", text, tmp_path)
    (ours,) = (line for line in added if line.startswith("NodeName=gpu[01-02] "))
    assert "NodeAddr=10.0.0.[9-10] Port=[7001-7002]" in ours
    assert "NodeName=gpu[03-04] NodeAddr=10.0.0.[21-22] Port=[7003-7004] CPUs=32" in added


def test_what_cannot_be_divided_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "slurm.conf"
    path.write_text("TaskPlugin=task/none\nNodeName=gpu[01-04] NodeAddr=10.0.0.[1-3] CPUs=32\n")
    diff = compare("slurm", REQUEST, path)
    assert "+TaskPlugin=task/affinity,task/cgroup" in diff
    said = " ".join(diff.replace("\n+# ", " ").split())
    assert "slurm.conf:2: NodeAddr=10.0.0.[1-3] does not have one entry per name" in said
    assert "-NodeName=" not in diff


def test_what_was_generated_needs_no_change(tmp_path: Path) -> None:
    for part in ("slurm", "gres", "cgroup", "plugstack"):
        folder = tmp_path / part
        folder.mkdir()
        assert changes(part, generate(part, REQUEST), folder) == ([], [])


def test_gres_lines_of_other_nodes_stay(tmp_path: Path) -> None:
    text = (
        "AutoDetect=nvml\nNodeName=gpu[01-03] Name=gpu File=/dev/nvidia[0-3]\nName=nic "
        "File=/dev/nic0\nNodeName=x Name=gpu Count=1\n"
    )
    removed, added = changes("gres", text, tmp_path)
    assert removed == text.splitlines()[1:2]
    assert "NodeName=gpu[01-02] AutoDetect=off" in added
    assert "NodeName=gpu03 Name=gpu File=/dev/nvidia[0-3]" in added
    assert any(line.startswith("NodeName=gpu[01-02] Name=gpu File=/dev/nvidia[0-1]") for line in added)


def files_changed(part: str, path: Path) -> dict[str, list[str]]:
    """Name of each file that would change -> its lines that come, without comments."""
    found: dict[str, list[str]] = {}
    for line in compare(part, REQUEST, path).splitlines():
        if line.startswith("+++ "):
            lines = found.setdefault(Path(line[4:].removesuffix(" (proposed)")).name, [])
        elif line.startswith("+") and line[1:] and not line.startswith("+#"):
            lines.append(line[1:])
    return found


def test_a_line_is_changed_in_the_included_file_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "slurm.conf").write_text("ClusterName=Big\ninclude sub/%c.conf\nTaskPluginParam=verbose\n")
    (tmp_path / "sub/big.conf").write_text("TaskPlugin=task/none\nInclude nodes.conf\n")
    (tmp_path / "sub/nodes.conf").write_text("NodeName=gpu[01-02] CPUs=32 Weight=7\nNodeName=x CPUs=1\n")
    before = {path: path.read_text() for path in tmp_path.rglob("*.conf")}
    found = files_changed("slurm", tmp_path / "slurm.conf")
    assert found["big.conf"] == ["TaskPlugin=task/affinity,task/cgroup"]
    (line,) = found["nodes.conf"]
    assert line.startswith("NodeName=gpu[01-02] CPUs=32 Boards=1") and line.endswith(" Weight=7")
    assert "TaskPluginParam=verbose,autobind=cores" in found["slurm.conf"]
    assert not any(line.startswith(("TaskPlugin=", "NodeName=")) for line in found["slurm.conf"])
    assert {path: path.read_text() for path in tmp_path.rglob("*.conf")} == before


@pytest.mark.parametrize(
    ("old", "new"), [("10", "60"), ("59", "60"), ("60", None), ("300", None), ("x", "60")]
)
def test_a_number_that_is_too_small_is_raised(old: str, new: str | None, tmp_path: Path) -> None:
    path = tmp_path / "slurm.conf"
    path.write_text(f"BatchStartTimeout={old}\n")
    request = replace(REQUEST, version=Version(26, 11))
    lines = [line for line in compare("slurm", request, path).splitlines() if "BatchStart" in line]
    assert [line for line in lines if line[0] != " "] == (
        [f"-BatchStartTimeout={old}", f"+BatchStartTimeout={new}"] if new else []
    )


def test_included_gres_lines_are_ours_too(tmp_path: Path) -> None:
    (tmp_path / "gres.conf").write_text("Name=nic File=/dev/nic0\ninclude gpus.conf\n")
    (tmp_path / "gpus.conf").write_text("NodeName=gpu[01-02] Name=gpu File=/dev/nvidia[0-3]\n")
    assert list(files_changed("gres", tmp_path / "gres.conf")) == ["gpus.conf"]


def test_an_include_that_cannot_be_read_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "slurm.conf"
    path.write_text("ClusterName=x\ninclude more.conf\n")
    with pytest.raises(
        ConfError, match=r"slurm\.conf:2: includes .*more\.conf: cannot be read: No such file"
    ):
        compare("slurm", REQUEST, path)
    (tmp_path / "more.conf").write_text("Prolog=/x\nroot:x:0\n")
    with pytest.raises(ConfError, match=r"more\.conf:2: is not a line of slurm\.conf"):
        compare("slurm", REQUEST, path)
    path.write_text("include slurm.conf\n")
    with pytest.raises(ConfError, match=r"slurm\.conf:1: files include each other"):
        compare("slurm", REQUEST, path)


def test_a_plugin_in_an_included_file_is_not_listed_twice(tmp_path: Path) -> None:
    (tmp_path / "plugstack.conf").write_text("include plugstack.conf.d/*.conf\nrequired /opt/other.so\n")
    folder = tmp_path / "plugstack.conf.d"
    folder.mkdir()
    (folder / "numa-align.conf").write_text("optional /usr/lib/numa-align/numa-align.so\n")
    assert files_changed("plugstack", tmp_path / "plugstack.conf") == {}
    (folder / "numa-align.conf").write_text("required /opt/numa-align.so on\n")
    assert files_changed("plugstack", tmp_path / "plugstack.conf") == {
        "numa-align.conf": ["optional /usr/lib/numa-align/numa-align.so"]
    }


SITE = "Prolog=/site/prolog\nEpilog=/opt/sbin/numa-align-epilog\nPrologTimeout=300\nPrologEpilogTimeout=300\n"


def test_the_sites_own_prolog_stays(tmp_path: Path) -> None:
    removed, added = changes("slurm", SITE, tmp_path)
    assert removed == ["Epilog=/opt/sbin/numa-align-epilog"]
    assert "Prolog=/usr/sbin/numa-align-prolog" in added
    assert "Epilog=/usr/sbin/numa-align-epilog" in added
    assert not any("Timeout" in line for line in added)


def test_where_slurm_runs_one_prolog_it_is_to_call_ours(tmp_path: Path) -> None:
    (tmp_path / "slurm.conf").write_text(SITE)
    diff = compare("slurm", replace(REQUEST, version=Version(22, 5)), tmp_path / "slurm.conf")
    assert "+Prolog=" not in diff
    assert (
        "+# Prolog= is yours, and this Slurm runs one only: have it call /usr/sbin/numa-align-prolog" in diff
    )


def test_plugstack_has_one_line_of_ours(tmp_path: Path) -> None:
    text = "include /etc/slurm/plugstack.conf.d/*\nrequired /opt/numa-align.so\n"
    removed, added = changes("plugstack", text, tmp_path)
    assert removed == ["required /opt/numa-align.so"]
    assert added == ["optional /usr/lib/numa-align/numa-align.so"]


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        (
            "slurm",
            "ClusterName=x\nroot:x:0:0:root:/root:/bin/bash\n",
            "slurm.conf:2: is not a line of slurm.conf",
        ),
        (
            "slurm",
            "\n\nNodeName=a Name=gpu File=/dev/x\nName=gpu File=/dev/y\n",
            "slurm.conf:4: is not a slurm.conf",
        ),
        ("gres", "ClusterName=x\n", "gres.conf:1: is not a gres.conf"),
        ("gres", "Name=gpu \\\n File /dev/x", "gres.conf:1: is not a line of gres.conf"),
        ("cgroup", "[cgroup]\n", "cgroup.conf:1: is not a line"),
        ("plugstack", "# x\nClusterName=x\n", "plugstack.conf:2: is not a line of plugstack.conf"),
    ],
)
def test_another_file_is_refused_with_its_line(part: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfError) as caught:
        changes(part, text, tmp_path)
    assert message in str(caught.value)
