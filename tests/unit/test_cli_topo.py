"""``numa-align topo``: JSON of the agreed schema, tables that fit, errors of one line."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from builder import Device, ExtraNode, Machine, on_nodes
from click.testing import CliRunner
from numa_align.cli.topo import command, memory_words, show
from numa_align.errors import TopologyError
from numa_align.topology.read import read_at
from rich.console import Console

GRACE = Machine(
    packages=2,
    extra_nodes=(
        *(ExtraNode(node, kind="gpu-memory") for node in (2, 10)),
        *(ExtraNode(node, 0, "gpu-memory") for node in range(3, 34) if node != 10),
    ),
    gpus=(Device(0, memory_node=2, model="Model [red]1[/red]"), Device(1, memory_node=10)),
)


def shown(machine: Machine, tmp_path: Path, width: int) -> str:
    output = StringIO()
    show(read_at(machine.write(tmp_path)), Console(file=output, width=width, highlight=False))
    return output.getvalue()


def test_the_json_is_the_agreed_one_to_the_field(tmp_path: Path) -> None:
    uuid = "GPU-11111111-2222-3333-4444-555555555555"
    gpus = (Device(1, uuid=uuid), Device(None, source="none", minor=4))
    root = Machine(packages=2, smt=2, memory_bytes=66881077248, gpus=gpus).write(tmp_path)
    (root / "etc/slurm").mkdir(parents=True)
    (root / "etc/slurm/gres.conf").write_text("Name=gpu File=/dev/nvidia[0,4]\n")
    # A process, since what is tested is also what goes to which of its outputs.
    arguments = [sys.executable, "-m", "numa_align", "topo", "--root", str(root), "--json"]
    result = subprocess.run(arguments, check=True, capture_output=True, text=True)
    assert json.loads(result.stdout) == {
        "version": 1,
        "name": None,
        "cpus": {"online": "0-15"},
        "nodes": [
            {"id": 0, "cpus": "0-3,8-11", "memory_bytes": 66881077248, "kind": "cpu"},
            {"id": 1, "cpus": "4-7,12-15", "memory_bytes": 66881077248, "kind": "cpu"},
        ],
        "distances": [[10, 32], [32, 10]],
        "gpus": [
            {
                "vendor": "nvidia",
                "bdf": "0000:11:00.0",
                "minor": 0,
                "uuid": uuid,
                "model": "Model 1",
                "index": 0,
                "node": 1,
                "source": "numa_node",
                "cpus": "4-7,12-15",
                "memory_nodes": [1],
            },
            {
                "vendor": "nvidia",
                "bdf": "0000:21:00.0",
                "minor": 4,
                "uuid": None,
                "model": "Model 1",
                "index": 1,
                "node": None,
                "source": "none",
                "cpus": "",
                "memory_nodes": [],
            },
        ],
        "cores": [
            *([f"{core},{core + 8}", 0, 0, 0] for core in range(4)),
            *([f"{core},{core + 8}", 1, 1, 4] for core in range(4, 8)),
        ],
    }
    assert list(json.loads(result.stdout)) == [
        "version", "name", "cpus", "nodes", "distances", "gpus", "cores",
    ]  # fmt: skip
    assert "numa-align: warning: GPU 0000:21:00.0" in result.stderr


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_what_is_shown_fits_the_width(width: int, tmp_path: Path) -> None:
    machine = Machine(packages=2, nodes=4, cores=8, smt=2, gpus=on_nodes(3, 3, 1, 1, 7, 7, 5, 5))
    lines = shown(machine, tmp_path, width).splitlines()
    assert max(len(line) for line in lines) <= width
    for position in range(8):
        assert any(machine.address(position) in line for line in lines)


def test_a_node_with_eight_gpus_is_seen_at_a_glance(tmp_path: Path) -> None:
    machine = Machine(packages=2, nodes=4, cores=16, smt=2, gpus=on_nodes(3, 3, 1, 1, 7, 7, 5, 5))
    text = shown(machine, tmp_path, 80)
    assert len(text.splitlines()) <= 40
    row = next(line for line in text.splitlines() if "0000:51:00.0" in line)
    assert row.split() == ["0000:51:00.0", "4", "7", "numa_node", "112-127,240-255"]


def test_reserved_nodes_take_one_line_and_no_place_among_the_distances(tmp_path: Path) -> None:
    text = shown(GRACE, tmp_path, 80)
    assert "3-9" in text
    assert "11-33" in text
    header = next(line for line in text.splitlines() if line.startswith("Distance"))
    assert header.split() == ["Distance", "0", "1", "2", "10"]


def test_many_nodes_are_grouped_by_distance(tmp_path: Path) -> None:
    text = shown(Machine(packages=4, nodes=8, cores=1), tmp_path, 80)
    row = next(line for line in text.splitlines() if "12: 1-7" in line)
    assert row.split() == ["0", "10:", "0", "12:", "1-7", "32:", "8-31"]


def test_brackets_in_a_name_are_brackets(tmp_path: Path) -> None:
    for width in (60, 120):
        assert "[red]1[/red]" in shown(GRACE, tmp_path / str(width), width)


def test_a_node_that_is_not_known_is_said_to_be(tmp_path: Path) -> None:
    text = shown(Machine(packages=2, gpus=on_nodes(None, source="none")), tmp_path, 80)
    assert "Warning: GPU 0000:11:00.0: its NUMA node is not known" in " ".join(text.split())


def test_slurms_index_is_shown_where_it_is_known(tmp_path: Path) -> None:
    root = Machine(gpus=on_nodes(0)).write(tmp_path)
    (tmp_path / "gres.conf").write_text("NodeName=n[1-4] Name=gpu File=/dev/nvidia0\n")
    arguments = ["--root", str(root), "--gres-conf", str(tmp_path / "gres.conf")]
    assert "Slurm" in CliRunner().invoke(command, [*arguments, "--node-name", "n3"]).stdout
    assert "not known" in " ".join(CliRunner().invoke(command, arguments).stdout.split())


def test_a_root_that_is_none_is_an_error_of_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        error = CliRunner().invoke(command, ["--root", str(path)]).exception
        assert isinstance(error, TopologyError)
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0.0 B"), (66881077248, "62.3 GiB"), (1 << 40, "1.0 TiB"), (5000 << 40, "5000.0 TiB")],
)
def test_sizes_have_a_unit_that_fits(size: int, words: str) -> None:
    assert memory_words(size) == words


def test_the_machine_that_runs_the_tests_is_read() -> None:
    result = CliRunner().invoke(command, ["--json"])
    assert json.loads(result.stdout)["nodes"]


def test_reading_a_machine_imports_little(tmp_path: Path) -> None:
    root = Machine(packages=2, gpus=on_nodes(1, 0)).write(tmp_path)
    program = (
        "import sys; before = set(sys.modules); from numa_align.topology.read import read_at;"
        f" read_at({str(root)!r}); print(*sorted(set(sys.modules) - before))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    heavy = {
        "json",
        "argparse",
        "rich",
        "click",
        "pynvml",
        "pathlib",
        "subprocess",
        "tomllib",
        "tomli",
        "logging",
    }
    assert heavy & set(output.split()) == set()
