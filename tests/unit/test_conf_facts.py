"""Facts of many nodes: read from files of topo, merged, folded, and refused where they conflict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builder import Device, ExtraNode, Machine, on_nodes
from numa_align.errors import ConfError
from numa_align.topology.as_json import to_json
from numa_align_conf.facts import read_kinds
from numa_align_conf.generate import kinds_of_files
from numa_align_conf.gres import gres_conf
from numa_align_conf.version import Version

GIB = 1 << 30


def write(folder: Path, name: str, machine: Machine, *, named: bool = True) -> Path:
    path = folder / f"{name}.json"
    path.write_text(to_json(machine.topology(), name if named else None))
    return path


def node(number: int, memory_bytes: int = 64 * GIB, model: str = "NVIDIA H100 80GB HBM3") -> Machine:
    gpus = tuple(Device(i // 2, model=model, uuid=f"GPU-{number:08x}-{i}") for i in range(4))
    return Machine(packages=2, cores=8, gpus=gpus, memory_bytes=memory_bytes)


def test_what_topo_prints_is_read_back_unchanged(tmp_path: Path) -> None:
    machine = Machine(
        packages=2, nodes=2, cores=3, smt=2, gpus=(*on_nodes(1, 3), Device(None, source="none")),
        extra_nodes=(ExtraNode(4, kind="gpu-memory"),), offline=(5,),
    )  # fmt: skip
    (kind,) = read_kinds([write(tmp_path, "n1", machine)])
    read, told = kind.topology, machine.topology()
    assert (read.online, read.cores, read.gpus, read.distances) == (
        told.online, told.cores, told.gpus, told.distances,
    )  # fmt: skip
    assert kind.memory_mib == 4 * 64 * 1024


def test_equal_nodes_become_one_line(tmp_path: Path) -> None:
    for number in range(1, 17):
        write(tmp_path, f"gpu{number:02d}", node(number, 64 * GIB - (number << 20)), named=number % 2 == 0)
    write(tmp_path, "old1", node(99, model="Tesla V100-SXM2-32GB"))
    kinds = read_kinds([tmp_path])
    assert [kind.folded for kind in kinds] == ["gpu[01-16]", "old1"]
    assert kinds[0].memory_mib == 2 * (64 * 1024 - 16)
    text = gres_conf(kinds, Version(24, 11))
    assert "NodeName=gpu[01-16] Name=gpu Type=h100 File=/dev/nvidia[0-1] Cores=0-7" in text
    assert "NodeName=old1 Name=gpu Type=v100 File=/dev/nvidia[2-3] Cores=8-15" in text


def test_nodes_with_more_memory_get_a_line_of_their_own(tmp_path: Path) -> None:
    for number, gib in ((1, 64), (2, 64), (3, 128)):
        write(tmp_path, f"n{number}", node(number, gib * GIB))
    assert [(kind.folded, kind.memory_mib >> 10) for kind in read_kinds([tmp_path])] == [
        ("n[1-2]", 128),
        ("n3", 256),
    ]


def test_some_of_the_nodes_may_be_chosen(tmp_path: Path) -> None:
    for number in range(1, 5):
        write(tmp_path, f"n{number}", node(number))
    assert [kind.names for kind in kinds_of_files([tmp_path], ["n[2-3]"])] == [("n2", "n3")]
    with pytest.raises(ConfError, match="--node n9: none of the files describes it"):
        kinds_of_files([tmp_path], ["n9"])


def refused(path: Path) -> str:
    with pytest.raises(ConfError) as caught:
        read_kinds([path])
    assert str(caught.value).startswith(str(path))
    return str(caught.value)[len(str(path)) :]


def test_a_file_of_something_else_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "n1.json"
    good = to_json(node(1).topology(), "n1")
    path.write_text("ssh: connect to host n1: No route to host\n")
    assert refused(path).startswith(":1: is not what `numa-align topo --json` prints")
    path.write_text(good[: len(good) // 2])
    assert ": is not what `numa-align topo --json` prints" in refused(path)
    path.write_bytes(b"\xff\xfe")
    assert refused(path).startswith(":1: ")
    path.write_text('{"version": 2}')
    assert "version 1" in refused(path)
    path.write_text(good.replace('"node": 0', '"node": 7'))
    assert "its facts conflict: GPU 0000:11:00.0" in refused(path)
    path.write_text(good.replace('"online": "0-15"', '"online": "0-14"'))
    assert "its facts conflict: the cores' CPUs" in refused(path)
    path.write_text(good.replace('"minor": 1', '"minor": 0'))
    assert "its facts conflict: two GPUs" in refused(path)
    older = json.loads(good)
    del older["cores"]
    path.write_text(json.dumps(older))
    assert "from an older numa-align" in refused(path)


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"version": 1, "cores": []}', '{"version": 1, "cores": 5}', ""]
)
def test_json_that_is_no_machine_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "n1.json"
    path.write_text(text)
    refused(path)


def test_two_files_that_differ_about_a_node_conflict(tmp_path: Path) -> None:
    first = write(tmp_path, "n1", node(1))
    second = tmp_path / "copy.json"
    second.write_text(first.read_text())
    assert len(read_kinds([first, second])) == 1
    second.write_text(to_json(Machine(packages=1).topology(), "n1"))
    with pytest.raises(ConfError, match=r"n1\.json: differs from .*copy\.json about node n1"):
        read_kinds([tmp_path])


def test_no_files_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfError, match="no facts"):
        read_kinds([tmp_path])
