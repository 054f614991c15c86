"""Drawings are well-formed, explain themselves, are readable in grey, and draw nothing outside themselves."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from builder import Card, Device, Machine, on_nodes
from builder.own import OWN
from click.testing import CliRunner
from numa_align.cli.plan import command as plan_command
from numa_align.cli.topo import command as topo_command
from numa_align.placement.plan import Request, make_plan
from numa_align.process.of_job import Seen
from numa_align.process.verdict import Verdict
from numa_align.sysfs import Tree
from numa_align.topology.caches import read_cache_sizes
from numa_align.topology.model import Attached, Topology
from numa_align.view.common import STATE_COLOURS
from numa_align.view.svg import COLOURS, Holder, Picture, colour_of, draw, draw_plan, draw_processes

SVG = "{http://www.w3.org/2000/svg}"


def words(text: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(text).iter(f"{SVG}text")]


def tips(text: str) -> list[str]:
    """What a pointer on a core is told."""
    return [element.text or "" for element in ElementTree.fromstring(text).iter(f"{SVG}title")][1:]


def planned(topology: Topology, tasks: int, cpus: tuple[int, ...] = ()) -> str:
    request = Request(tasks, tuple(range(len(topology.gpus))), cpus or topology.online)
    return draw_plan(topology, make_plan(topology, request), "node1 - plan", Attached(), {})


def test_the_machine_alone_has_every_core_gpu_node_and_distance() -> None:
    machine = Machine(packages=2, cores=20, smt=2, gpus=(*on_nodes(0, 1), Device(None, source="none")))
    text = draw(machine.topology(), Picture("node1"))
    said = words(text)
    assert len(tips(text)) == 40 and said[0] == "node1"
    assert "node 1, 64 GiB" in said and "package 1" in said
    assert said.count("32") >= 2 and said.count("10") >= 2, "the distances"
    assert "on no known node:" in said
    assert any("Numbers on cores are CPUs" in word for word in said)


def test_a_task_has_one_colour_and_its_number_on_every_core() -> None:
    topology = Machine(packages=2, cores=2, gpus=on_nodes(0, 1)).topology()
    text = planned(topology, 2)
    said = words(text)
    assert any(word.startswith("GPU") and word.endswith("task 1") for word in said)
    assert any(word.startswith("task 1: GPU 1, CPUs 2-3, memory preferred-many 1") for word in said)
    assert said.count("aligned") == 2
    fills = [box.get("fill") for box in ElementTree.fromstring(text).iter(f"{SVG}rect")]
    assert fills.count(COLOURS[0]) == fills.count(COLOURS[1]) == 4, "two cores, the GPU, the legend"


def test_cores_that_are_idle_or_outside_the_step_carry_no_number() -> None:
    topology = Machine(packages=2, cores=8, gpus=on_nodes(0)).topology()
    text = planned(topology, 1, cpus=tuple(range(10)))
    assert sum("nobody" in tip for tip in tips(text)) == 2
    assert sum("not in the step" in tip for tip in tips(text)) == 6
    assert words(text).count("0") == 8 + 1 + 2, "its cores, the legend, the head of the distances"


def test_the_state_the_policy_and_the_reason_are_in_the_picture() -> None:
    topology = OWN["virtual-without-locality"].topology()
    said = words(planned(topology, 2))
    assert said.count("unaligned") == 2
    assert any(word.startswith("task 0: the NUMA node of GPU") and "administrator" in word for word in said)


def test_memory_and_gpu_nodes_are_drawn_and_empty_ones_listed() -> None:
    said = words(planned(OWN["memory-only-nodes"].topology(), 2))
    assert "node 4, 64 GiB, memory without CPUs" in said
    said = words(planned(OWN["four-superchips"].topology(), 4))
    assert "node 12, 96 GiB, memory of a GPU" in said
    assert any(word.startswith("nodes 5-11,13-19,21-27,29-35: ") for word in said)


def test_threads_and_sizes_of_caches_are_drawn(tmp_path: Path) -> None:
    machine = Machine(cores=2, smt=2)
    topology = machine.topology()
    sizes = read_cache_sizes(Tree(machine.write(tmp_path)), topology)
    assert sizes == {0: 32 << 20}
    text = draw(topology, Picture("", caches=sizes))
    assert "cache 32 MiB" in words(text)
    strips = [box for box in ElementTree.fromstring(text).iter(f"{SVG}rect") if box.get("height") == "6"]
    assert len(strips) == 4, "a strip for each thread"


def _running(pid: int, task: int, topology: Topology, gpu: int | None) -> Seen:
    verdict = Verdict((0,), (0,), 1, 1, "aligned", None, frozenset()) if gpu is not None else None
    gpus = () if gpu is None else (topology.gpus[gpu],)
    name = "pt_data_worker" if gpu is None else "python3"
    return Seen(pid, name, task, topology.nodes[task].cpus, (task,), (), gpus, None, verdict, 10, None)


def test_a_job_with_loaders_is_drawn_by_task() -> None:
    topology = Machine(packages=2, cores=2, gpus=on_nodes(0, 1)).topology()
    seen = [_running(100 + 10 * t + i, t, topology, t if i == 0 else None) for t in (0, 1) for i in range(4)]
    said = words(draw_processes(topology, "job", seen, Attached(), {}))
    for task in (0, 1):
        assert f"task {task}: python3, 4 processes, GPU {task}" in said
        assert any(word.startswith(f"GPU {task}") and word.endswith(f"task {task}") for word in said)
    assert said.count("aligned") == 2 and not any(word.endswith("x") and word[:-1].isdigit() for word in said)


def test_network_cards_are_drawn_with_the_gpu_that_they_are_next_to(tmp_path: Path) -> None:
    machine = Machine(
        packages=2,
        gpus=on_nodes(0, 1),
        cards=(Card("0000:22:00.0", "pci0000:20/0000:20:01.0", node=1, rdma="mlx5_0"),),
    )
    root, file = str(machine.write(tmp_path / "root")), tmp_path / "x.svg"
    result = CliRunner().invoke(topo_command, ["--root", root, "--svg", str(file)])
    assert result.exit_code == 0, result.output
    assert any("infiniband" in word for word in words(file.read_text(encoding="utf-8")))


def _grey(colour: str) -> float:
    """Luminance (ITU-R BT.709)."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_colours_of_tasks_stay_apart_in_grey_and_are_none_of_states() -> None:
    assert not set(COLOURS) & set(STATE_COLOURS.values())
    for one, other in zip(COLOURS, COLOURS[1:]):
        assert abs(_grey(one) - _grey(other)) > 8, (one, other)
    assert all(_grey(colour) > 120 for colour in COLOURS), "black text is read on them"
    assert len({colour_of(number) for number in range(40)}) == 40
    for one, other in combinations(STATE_COLOURS.values(), 2):
        assert abs(_grey(one) - _grey(other)) > 8


@pytest.mark.parametrize("name", [*OWN, "seventy"])
def test_nothing_is_drawn_outside_or_over_another_node(name: str) -> None:
    machine = OWN.get(name) or Machine(packages=2, nodes=8, cores=8, smt=2, gpus=on_nodes(*range(16)))
    text = planned(machine.topology(), 70 if name == "seventy" else 4)
    root = ElementTree.fromstring(text)
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    nodes = []
    for box in root.findall(f"{SVG}rect"):
        x, y, w, h = (float(box.get(key, 0)) for key in ("x", "y", "width", "height"))
        assert x + w <= width and y + h <= height
        if box.get("rx") == "4":
            nodes.append((x, y, x + w, y + h))
    for (ax, ay, bx, by), (cx, cy, dx, dy) in combinations(nodes, 2):
        assert bx <= cx or dx <= ax or by <= cy or dy <= ay
    assert width <= 1600
    sizes = [float(element.get("font-size", 0)) for element in root.iter(f"{SVG}text")]
    assert min(sizes) >= 7.5


def test_what_stands_in_a_title_is_xml_whatever_it_was() -> None:
    topology = Machine().topology()
    text = draw(
        topology, Picture("<a>&\x7f"[:4], (Holder("0", 'a "<b>&', frozenset((0,))),), frozenset((0,)))
    )
    assert "<a>&" in words(text)


def test_topo_and_plan_draw_a_file_with_command_and_version(tmp_path: Path) -> None:
    root = str(Machine(packages=2, gpus=on_nodes(0, 1)).write(tmp_path / "root"))
    for command, more in ((topo_command, []), (plan_command, ["-n2"])):
        file = tmp_path / f"{command.short_help}.svg"
        result = CliRunner().invoke(command, ["--root", root, "--svg", str(file), *more])
        assert result.exit_code == 0, result.output
        said = words(file.read_text(encoding="utf-8"))
        assert (
            "node 1, 64 GiB" in said
            and root.rsplit("/", maxsplit=1)[-1] in said[0]
            and "numa-align 0." in said[0]
        )
