"""Drawings are well-formed, say what they show, and nothing is drawn outside of them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from builder import Device, Machine, on_nodes
from click.testing import CliRunner
from numa_align.cli.plan import command as plan
from numa_align.cli.topo import command as topo
from numa_align.view.svg import Holder, draw

SVG = "{http://www.w3.org/2000/svg}"


def words(text: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(text).iter(f"{SVG}text")]


def test_every_core_gpu_node_and_distance_is_there() -> None:
    machine = Machine(packages=2, cores=20, smt=2, gpus=(*on_nodes(0, 1), Device(None, source="none")))
    said = words(draw(machine.topology()))
    assert sum(word.isdigit() for word in said) == 40, "a label for each core"
    assert any(word.startswith("node 1 · package 1") for word in said)
    assert any(word.endswith("1: 32") for word in said), "the distance"
    assert any("on no known node: " in word for word in said)


def test_tasks_have_colours_and_their_names_stand_on_their_cores_and_gpus() -> None:
    topology = Machine(packages=2, cores=2, gpus=on_nodes(0, 1)).topology()
    holders = [Holder(f"task {i}", topology.nodes[i].cpus, (topology.gpus[i].bdf,)) for i in range(2)]
    text = draw(topology, holders)
    said = words(text)
    assert said.count("0") == 2 and said.count("1") == 2, said
    assert any(word.startswith("GPU") and word.endswith("task 1") for word in said)
    root = ElementTree.fromstring(text)
    fills = {box.get("fill") for box in root.iter(f"{SVG}rect")}
    assert {"#8ecae6", "#f2b880"} <= fills


@pytest.mark.parametrize("nodes", [1, 8])
def test_nothing_is_drawn_outside(nodes: int) -> None:
    root = ElementTree.fromstring(draw(Machine(packages=nodes, cores=40, gpus=on_nodes(0)).topology()))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for box in root.iter(f"{SVG}rect"):
        assert float(box.get("x", 0)) + float(box.get("width", 0)) <= width
        assert float(box.get("y", 0)) + float(box.get("height", 0)) <= height


def test_topo_and_plan_draw_into_a_file(tmp_path: Path) -> None:
    root = str(Machine(packages=2, gpus=on_nodes(0, 1)).write(tmp_path / "root"))
    for command, more in ((topo, []), (plan, ["-n2"])):
        file = tmp_path / f"{command.short_help}.svg"
        result = CliRunner().invoke(command, ["--root", root, "--svg", str(file), *more])
        assert result.exit_code == 0, result.output
        assert "node 1" in " ".join(words(file.read_text(encoding="utf-8")))
