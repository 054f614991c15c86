"""``numa-align topo``: JSON of the agreed schema, tables that fit, errors of one line."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from builder import Card, Device, ExtraNode, Machine, NvmeDisk, on_nodes
from click.testing import CliRunner
from numa_align.cli.recorded import attached_at
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
    topology = read_at(machine.write(tmp_path))
    console = Console(file=output, width=width, highlight=False)
    show(topology, attached_at(str(tmp_path), topology), console)
    return output.getvalue()


def test_the_json_is_the_agreed_one_to_the_field(tmp_path: Path) -> None:
    uuid = "GPU-11111111-2222-3333-4444-555555555555"
    gpus = (Device(1, uuid=uuid), Device(None, source="none", minor=4))
    cards = [Card("0000:12:00.0", "pci0000:10/0000:10:01.0", 1, rdma="mlx5_0", net="ib0")]
    disks = [NvmeDisk("0000:30:00.0", "pci0000:30", 1, "nvme0")]
    root = Machine(packages=2, smt=2, memory_bytes=66881077248, gpus=gpus, cards=cards, disks=disks).write(
        tmp_path
    )
    (root / "etc/slurm").mkdir(parents=True)
    (root / "etc/slurm/gres.conf").write_text("Name=gpu File=/dev/nvidia[0,4]\n")
    # In a process, to test also what goes to stdout and what to stderr.
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
        "nics": [
            {
                "bdf": "0000:12:00.0",
                "name": "mlx5_0",
                "kind": "infiniband",
                "rdma": True,
                "interfaces": ["ib0"],
                "ports": [1],
                "up": True,
                "physical": None,
                "bond": None,
                "node": 1,
                "source": "numa_node",
                "paths": {"0000:11:00.0": "PIX", "0000:21:00.0": "SYS"},
            },
        ],
        "disks": [
            {
                "bdf": "0000:30:00.0",
                "name": "nvme0",
                "model": "Disk 1",
                "node": 1,
                "source": "numa_node",
                "paths": {"0000:11:00.0": "NODE", "0000:21:00.0": "SYS"},
            },
        ],
        "cores": [
            *([f"{core},{core + 8}", 0, 0, 0] for core in range(4)),
            *([f"{core},{core + 8}", 1, 1, 4] for core in range(4, 8)),
        ],
    }
    assert list(json.loads(result.stdout)) == [
        "version", "name", "cpus", "nodes", "distances", "gpus", "nics", "disks", "cores",
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


#: Eight GPUs and a card beside each, two cards for storage in a bond, one that is down, and two disks.
PAIRED = Machine(
    packages=2,
    gpus=tuple(
        Device(
            number // 4, bdf=f"0000:{number:02x}:10.0",
            way=f"pci0000:{number:02x}/0000:{number:02x}:01.0/0000:{number:02x}:02.0/0000:{number:02x}:03.0",
        )
        for number in range(8)
    ),
    cards=(
        *(
            Card(
                f"0000:{number:02x}:11.0",
                f"pci0000:{number:02x}/0000:{number:02x}:01.0/0000:{number:02x}:02.0/0000:{number:02x}:04.0",
                number // 4, rdma=f"mlx5_{number}", net=f"ib{number}",
                states=["1: DOWN" if number == 3 else "4: ACTIVE"],
            )
            for number in range(8)
        ),
        Card("0000:50:00.0", "pci0000:50", 0, "roce", "mlx5_bond_0", "eth0", bond="bond0"),
        Card("0000:50:00.1", "pci0000:50", 0, "ethernet", None, "eth1", bond="bond0"),
        Card("0000:50:00.2", "pci0000:50", 0, "roce", "mlx5_9", physfn="0000:50:00.0"),
        Card("0000:50:00.3", "pci0000:50", 0, "roce", "mlx5_10", physfn="0000:50:00.0"),
    ),
    disks=(NvmeDisk("0000:60:00.0", "pci0000:60", 0, "nvme0"), NvmeDisk("0000:61:00.0", "pci0000:61", 1)),
)  # fmt: skip


def row_of(text: str, *starts: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.startswith(starts)]


def test_cards_have_their_state_their_node_and_what_else_they_are(tmp_path: Path) -> None:
    text = shown(PAIRED, tmp_path, 120)
    assert row_of(text, "0000:03:11.0") == [["0000:03:11.0", "mlx5_3", "infiniband", "down", "0", "ib3"]]
    assert row_of(text, "0000:50:00.0") == [
        [
            "0000:50:00.0",
            "mlx5_bond_0",
            "roce",
            "up",
            "0",
            "eth0;",
            "in",
            "bond0;",
            "2",
            "virtual",
            "functions",
        ]
    ]
    assert row_of(text, "0000:50:00.1") == [["0000:50:00.1", "eth1", "ethernet", "up", "0", "in", "bond0"]]
    assert row_of(text, "0000:50:00.2") == []
    assert row_of(text, "0000:61:00.0") == [["0000:61:00.0", "-", "1", "-"]]


def test_the_matrix_has_a_row_a_gpu_and_a_column_a_card(tmp_path: Path) -> None:
    text = shown(PAIRED, tmp_path, 120)
    header, *_ = row_of(text, "Path")
    assert header == ["Path", *(f"mlx5_{number}" for number in range(8)), "mlx5_bond_0"]
    (row,) = (row for row in row_of(text, "0000:02:10.0") if "PIX" in row)
    assert row == ["0000:02:10.0", "NODE", "NODE", "PIX", "NODE", "SYS", "SYS", "SYS", "SYS", "NODE"]


def test_cards_that_do_not_fit_side_by_side_are_listed_by_class(tmp_path: Path) -> None:
    text = " ".join(shown(PAIRED, tmp_path, 80).split())
    assert "0000:02:10.0 PIX mlx5_2 NODE mlx5_0 mlx5_1 mlx5_3 mlx5_bond_0 SYS mlx5_4" in text


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_cards_and_disks_fit_the_width(width: int, tmp_path: Path) -> None:
    assert max(len(line) for line in shown(PAIRED, tmp_path, width).splitlines()) <= width


def test_reserved_nodes_take_one_line_and_have_no_distances(tmp_path: Path) -> None:
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
    assert "Warning: GPU 0000:11:00.0: its NUMA node is unknown" in " ".join(text.split())


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
