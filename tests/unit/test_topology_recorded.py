"""Recorded machines: every one with an answer is read correctly, and none, even damaged, causes an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from builder.damage import damaged
from builder.recorded import answered, at_least, is_complete, unanswered
from click.testing import CliRunner
from numa_align import sysfs
from numa_align.cli.topo import command
from numa_align.cpulist import format_cpulist, parse_cpulist, parse_cpumap
from numa_align.names import NODE_KINDS, SOURCES
from numa_align.topology.as_json import from_json, to_json
from numa_align.topology.fingerprint import fingerprint
from numa_align.topology.model import Topology
from numa_align.topology.read import read_at


@pytest.fixture(scope="session")
def machines(recorded: Path) -> list[tuple[Path, dict[str, Any]]]:
    return [(root, json.loads(answer.read_text())) for root, answer in answered(recorded)]


def differences(topology: Topology, answer: dict[str, Any]) -> Iterator[str]:
    """Where a topology differs from the recorded answer."""
    if format_cpulist(topology.online) != answer["cpus"]["online"]:
        yield f"online: {format_cpulist(topology.online)}"
    nodes = {str(node.id): (format_cpulist(node.cpus), node.memory_bytes) for node in topology.nodes}
    expected = {id_: (node["cpulist"], node["mem_kb"] * 1024) for id_, node in answer["nodes"].items()}
    if nodes != expected:
        yield f"nodes: {nodes}"
    if len({core.package for core in topology.cores}) != answer["cpus"]["packages"]:
        yield "packages"
    if max(len(core.cpus) for core in topology.cores) != answer["cpus"]["smt"]:
        yield "hardware threads of a core"
    gpus = {gpu.bdf: gpu for gpu in topology.gpus}
    wanted = {gpu["bdf"]: gpu for gpu in answer["gpus"] if gpu["kind"] in ("nvidia", "amd", "intel")}
    if sorted(gpus) != sorted(wanted):
        yield f"GPUs: {sorted(gpus)}"
    for bdf in set(gpus) & set(wanted):
        gpu, want = gpus[bdf], wanted[bdf]
        single = len([node for node in topology.nodes if node.cpus]) == 1
        node = want["numa_node"] if want["numa_node"] >= 0 else topology.nodes[0].id if single else None
        cpus = "" if node is None else answer["nodes"][str(node)]["cpulist"]
        found = (gpu.vendor, gpu.minor, gpu.node, format_cpulist(gpu.cpus))
        if found != (want["kind"], want.get("minor"), node, cpus):
            yield f"GPU {bdf}: {found}"


def test_every_recorded_answer_is_met(machines: list[tuple[Path, dict[str, Any]]]) -> None:
    assert len(machines) > at_least(recorded=56, own=15)
    found = {root.name: list(differences(read_at(root), answer)) for root, answer in machines}
    assert {name: texts for name, texts in found.items() if texts} == {}


def test_memory_of_gpus_is_told_from_other_memory(machines: list[tuple[Path, dict[str, Any]]]) -> None:
    for root, answer in machines:
        of_gpus = {gpu["mem_node"] for gpu in answer["gpus"] if gpu.get("mem_node") is not None}
        for node in read_at(root).nodes:
            if node.cpus:
                assert node.kind in ("cpu", "cpu-only"), (root.name, node)
            elif node.memory_bytes:
                assert (node.kind == "gpu-memory") == (node.id in of_gpus), (root.name, node)
            else:
                assert node.kind == "gpu-memory", (root.name, node)


def test_gpu_memory_is_recognised_without_the_drivers_word(
    machines: list[tuple[Path, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = sysfs.read_text
    monkeypatch.setattr(
        sysfs, "read_text", lambda path, *limit: None if path.endswith("numa_status") else read(path, *limit)
    )
    seen = 0
    for root, answer in machines:
        of_gpus = {gpu["mem_node"] for gpu in answer["gpus"] if gpu.get("mem_node") is not None}
        seen += len(of_gpus)
        kinds = {node.id: node.kind for node in read_at(root).nodes}
        assert {kinds[node] for node in of_gpus} <= {"gpu-memory"}, root.name
    assert seen > at_least(recorded=14, own=3)


def sound(topology: Topology) -> list[str]:
    """What is wrong with a topology in itself, whatever the machine."""
    online = set(topology.online)
    ids = [node.id for node in topology.nodes]
    usable = {node.id for node in topology.nodes if node.kind in ("cpu", "memory")}
    in_cores = [cpu for core in topology.cores for cpu in core.cpus]
    checks = {
        "nodes ascend": ids == sorted(set(ids)),
        "kinds are known": all(node.kind in NODE_KINDS for node in topology.nodes),
        "nodes have online CPUs": all(set(node.cpus) <= online for node in topology.nodes),
        "memory is not negative": all(node.memory_bytes >= 0 for node in topology.nodes),
        "distances are square": [len(row) for row in topology.distances] == [len(ids)] * len(ids),
        "cores part the online CPUs": sorted(in_cores) == list(topology.online),
        "cores ascend": [core.cpus[0] for core in topology.cores]
        == sorted(core.cpus[0] for core in topology.cores),
        "caches begin at online CPUs": all(core.llc in online for core in topology.cores),
        "sources are known": all(gpu.source in SOURCES for gpu in topology.gpus),
        "a node has a source": all((gpu.node is None) == (gpu.source == "none") for gpu in topology.gpus),
        "GPUs are on nodes": all(gpu.node is None or gpu.node in ids for gpu in topology.gpus),
        "GPUs have online CPUs": all(set(gpu.cpus) <= online for gpu in topology.gpus),
        "GPUs have host memory": all(set(gpu.memory_nodes) <= usable for gpu in topology.gpus),
        "addresses differ": len({gpu.bdf for gpu in topology.gpus}) == len(topology.gpus),
        "warnings are lines": all("\n" not in warning for warning in topology.warnings),
    }
    return [name for name, holds in checks.items() if not holds]


def test_raw_dumps_are_read_as_their_kernels_meant_them(recorded: Path) -> None:
    if not is_complete():
        pytest.skip("the archive of recorded machines is not here; our own all have answers")
    roots = list(unanswered(recorded))
    assert len(roots) > 20
    for root in roots:
        topology = read_at(root)
        assert sound(topology) == [], root
        assert topology.online, root
        assert all(core.node is not None for core in topology.cores), root
        for node in topology.nodes:
            path = root / f"sys/devices/system/node/node{node.id}"
            if (path / "cpulist").is_file():
                stated = parse_cpulist((path / "cpulist").read_text().replace("\0", ""))
            elif (path / "cpumap").is_file():
                stated = parse_cpumap((path / "cpumap").read_text().replace("\0", ""))
            else:
                continue
            assert set(node.cpus) == set(stated) & set(topology.online), (root, node)


@pytest.fixture(scope="session")
def read_paths(machines: list[tuple[Path, dict[str, Any]]]) -> dict[Path, list[Path]]:
    """For each machine, the files and directories that reading it touches."""
    touched: dict[Path, list[Path]] = {}
    with pytest.MonkeyPatch.context() as patch:
        for root, _ in machines:
            seen: set[str] = set()
            text, names, link = sysfs.read_text, sysfs.Tree.names, sysfs.Tree.link
            patch.setattr(
                sysfs, "read_text", lambda path, *rest, s=seen, f=text: (s.add(path), f(path, *rest))[1]
            )
            patch.setattr(
                sysfs.Tree,
                "names",
                lambda tree, path, s=seen, f=names: (s.add(tree.path(path)), f(tree, path))[1],
            )
            patch.setattr(
                sysfs.Tree,
                "link",
                lambda tree, path, s=seen, f=link: (s.add(tree.path(path)), f(tree, path))[1],
            )
            read_at(root)
            patch.undo()
            touched[root] = sorted(Path(path) for path in seen if Path(path).is_relative_to(root))
    return touched


@pytest.mark.parametrize("share", ["one", "few", "many"])
def test_no_damage_is_too_much(read_paths: dict[Path, list[Path]], share: str) -> None:
    random = Random(20240607)
    for root, paths in read_paths.items():
        for _ in range(12 if share == "one" else 4):
            count = {"one": 1, "few": 8, "many": len(paths) // 3}[share]
            with damaged(random.sample(paths, min(count, len(paths))), random) as words:
                topology = read_at(root)
                assert sound(topology) == [], words
                assert from_json(to_json(topology), "it") == topology._replace(warnings=(), nics=()), words
                fingerprint(root)


def test_the_files_that_say_most_may_be_damaged_in_every_way(read_paths: dict[Path, list[Path]]) -> None:
    random = Random(3)
    for root, paths in list(read_paths.items())[::6]:
        rare = [path for path in paths if "/cpu/cpu" not in str(path)]
        for path in rare:
            with damaged([path], random) as words:
                assert sound(read_at(root)) == [], words


def test_a_damaged_machine_is_shown_or_refused_in_one_line(read_paths: dict[Path, list[Path]]) -> None:
    random = Random(5)
    for root, paths in list(read_paths.items())[::8]:
        with damaged(random.sample(paths, len(paths) // 4), random) as words:
            result = CliRunner().invoke(command, ["--root", str(root)])
            assert result.exception is None or "\n" not in str(result.exception), words
            assert result.exception is None or type(result.exception).__name__ == "TopologyError", words


def test_after_the_damage_every_machine_is_whole(machines: list[tuple[Path, dict[str, Any]]]) -> None:
    assert all(list(differences(read_at(root), answer)) == [] for root, answer in machines)
