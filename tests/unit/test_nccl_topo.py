"""``show --as nccl-topo``: what it writes is valid by a schema, and says again what was read.

The schema has the rules of NCCL's own reader (src/graph/xml.cc). Paths are judged by the tree in the file
alone, as NCCL does, against those that the topology has from sysfs.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from builder import Card, Device, ExtraNode, Machine, on_nodes
from builder.recorded import answered, is_complete, unanswered
from click.testing import CliRunner
from numa_align.cli.show import command
from numa_align.cpulist import parse_cpumap
from numa_align.sysfs import Tree
from numa_align.topology.gpu.pci import read_way
from numa_align.topology.model import Topology
from numa_align.topology.read import read_at
from numa_align.view.nccl_topo import topology_file
from unit.nics import hgx

xmlschema = pytest.importorskip("xmlschema")
SCHEMA = xmlschema.XMLSchema(str(Path(__file__).parent / "schema/nccl-topo.xsd"))


def written(root: Path, gpus: int) -> tuple[ET.Element, list[str]]:
    """The file, which is valid, and the remarks beside it."""
    words = ["--root", str(root), "--gpus", ",".join(map(str, range(gpus))), "--as", "nccl-topo", "--json"]
    result = CliRunner().invoke(command, words, catch_exceptions=False)
    told = json.loads(result.output)
    SCHEMA.validate(told["text"])
    return ET.fromstring(told["text"]), told["notes"]


def ways_in(system: ET.Element) -> dict[str, tuple[str, ...]]:
    """The way to each device in the file: its node, the switches, itself."""

    def below(element: ET.Element, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for pci in element.findall("pci"):
            way = (*above, pci.attrib["busid"])
            if len(pci):
                yield from below(pci, way)
            else:
                yield way

    return {way[-1]: way for cpu in system for way in below(cpu, (cpu.attrib["numaid"],))}


def word(a: tuple[str, ...], b: tuple[str, ...]) -> set[str]:
    """What the tree says of two devices, in the words of nvidia-smi: the file knows no host bridges."""
    if a[0] != b[0]:
        return {"SYS", "PHB"}  # PHB: firmware that puts devices of one host bridge on two nodes
    shared = sum(1 for _ in zip(a[1:-1], b[1:-1]) if _[0] == _[1])
    if not shared:
        return {"PHB", "NODE", "PIX"}  # PIX: functions of one card, or behind one port of the root complex
    return {"PIX"} if max(len(a), len(b)) - 2 == shared else {"PIX", "PXB"}


def check(system: ET.Element, topology: Topology) -> None:
    """Node and CPUs of every GPU and card, and the path between them."""
    found = ways_in(system)
    nodes = {node.id: node for node in topology.nodes}
    for cpu in system:
        own = nodes[int(cpu.attrib["numaid"])]
        assert not own.cpus or parse_cpumap(cpu.attrib["affinity"]) == own.cpus
    places = {gpu.bdf: gpu.node for gpu in topology.gpus}
    places.update((nic.bdf, nic.node) for nic in topology.nics if nic.for_rdma)
    assert {bdf: int(way[0]) for bdf, way in found.items()} == {
        bdf: node for bdf, node in places.items() if node is not None
    }
    for nic in topology.nics:
        for gpu, path in zip(topology.gpus, nic.paths):
            if nic.bdf in found and gpu.bdf in found:
                assert path in word(found[gpu.bdf], found[nic.bdf]), (gpu.bdf, nic.bdf)


def test_gpus_and_cards_are_below_their_switches(tmp_path: Path) -> None:
    topology = hgx(tmp_path, range(8))
    system, notes = written(tmp_path, 8)
    check(system, topology)
    assert [cpu.attrib["numaid"] for cpu in system] == ["0", "1"]
    switch = system[0][0]
    assert switch.attrib == {"busid": "0000:11:00.0", "class": "0x060400"}
    assert [(pci.attrib["busid"], pci.attrib["class"]) for pci in switch] == [
        ("0000:13:00.0", "0x030200"), ("0000:14:00.0", "0x020000"),
    ]  # fmt: skip
    assert len(notes) == 1 and "NCCL_TOPO_FILE" in notes[0]


def test_only_the_named_gpus_are_in_the_file(tmp_path: Path) -> None:
    hgx(tmp_path, ())
    assert len(ways_in(written(tmp_path, 3)[0])) == 3


def test_a_card_on_a_node_without_cpus_is_near_those_of_others(tmp_path: Path) -> None:
    card = Card("0000:12:00.0", "pci0000:10/0000:10:01.0", node=2, rdma="mlx5_0")
    built = Machine(packages=2, cores=4, extra_nodes=(ExtraNode(2),), gpus=on_nodes(0), cards=[card])
    system, _ = written(built.write(tmp_path), 1)
    cpus = {cpu.attrib["numaid"]: parse_cpumap(cpu.attrib["affinity"]) for cpu in system}
    assert cpus == {"0": (0, 1, 2, 3), "2": tuple(range(8))}


def test_the_override_says_what_sysfs_does_not(tmp_path: Path) -> None:
    """A guest: all devices on one bus, without a node."""
    gpus = [Device(node=None, bdf=f"0000:0{n}:00.0", way="pci0000:00") for n in range(1, 5)]
    root = Machine(packages=2, cores=4, gpus=gpus).write(tmp_path)
    (root / "etc/numa-align").mkdir(parents=True)
    lines = [f'[[gpu]]\nbdf = "{gpu.bdf}"\nnode = {1 - n // 2}\n' for n, gpu in enumerate(gpus[:3])]
    (root / "etc/numa-align/override.toml").write_text("".join(lines))
    system, notes = written(root, 4)
    assert {bdf: way[0] for bdf, way in ways_in(system).items()} == {
        "0000:01:00.0": "1", "0000:02:00.0": "1", "0000:03:00.0": "0",
    }  # fmt: skip
    assert notes[0].startswith(
        "without a place in the file, because their NUMA node is unknown: 0000:04:00.0;"
    )


def test_every_recorded_machine_is_valid_and_says_what_was_read(recorded: Path) -> None:
    """Among them those that were made of published topology files (nccl-trees)."""
    tried = set()
    for root in [*(machine for machine, _ in answered(recorded)), *unanswered(recorded)]:
        topology = read_at(root)
        if not any(gpu.node is not None for gpu in topology.gpus):
            continue
        if any(len(gpu.bdf) > len("0000:00:00.0") for gpu in topology.gpus):
            continue  # a domain that NCCL cannot name
        addresses = {gpu.bdf for gpu in topology.gpus} | {nic.bdf for nic in topology.nics}
        ways = {bdf: read_way(Tree(root), bdf) for bdf in addresses}
        text = topology_file(topology, topology.gpus, ways).text
        SCHEMA.validate(text)
        check(ET.fromstring(text), topology)
        tried.add(root.parent.name)
    assert tried >= ({"nccl-trees", "xml-trees"} if is_complete() else set()) and tried


@pytest.mark.parametrize(
    "text",
    [
        '<system version="2"><cpu numaid="0"/></system>',
        '<system version="1"><cpu/></system>',
        '<system version="1"><cpu numaid="0"><pci busid="0001:00:00.0"/></cpu></system>',
        '<system version="1"><cpu numaid="0"><pci busid="1:00.0" class="0x030200"/></cpu></system>',
        '<system version="1"><pci busid="0001:00:00.0" class="0x030200"/></system>',
    ],
)
def test_the_schema_refuses_what_nccl_refuses_or_misses(text: str) -> None:
    assert not SCHEMA.is_valid(text)
