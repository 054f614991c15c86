"""`bench` measures what it says, and says in a line what it lacks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builder import Machine
from click.testing import CliRunner
from numa_align.bench import nic_writes
from numa_align.bench.as_json import local_to_remote
from numa_align.bench.host_memory import Cell, Effort, chase, measure_memory, pairs, settled
from numa_align.bench.nic_writes import PROGRAM, Write, measurable, measure_nic
from numa_align.cli.bench import _draw_map, _Measured, _print, _title, command
from numa_align.errors import RequestError
from numa_align.process.affinity import read_policy
from numa_align.topology.model import Nic
from numa_align.topology.read import read_here
from unit.programs import program

TINY = Effort(1 << 20, 1, 2000, chain=1 << 20)


def test_it_measures_and_leaves_mask_and_policy_as_they_were() -> None:
    topology, allowed = read_here(), tuple(os.sched_getaffinity(0))
    cpu, memory = pairs(topology, allowed)[0]
    cell = measure_memory(cpu, memory, allowed, TINY)
    assert (cell.cpu_node, cell.memory_node) == (cpu.id, memory.id) and cell.bandwidth_gb_s > 0.01
    assert tuple(os.sched_getaffinity(0)) == allowed and read_policy()[0] == "default"


def test_all_pairs_of_nodes_that_can_be_measured_are() -> None:
    topology = Machine(packages=2, cores=2, cpu_only_nodes=(1,)).topology()
    assert [(a.id, b.id) for a, b in pairs(topology, (0, 1, 2, 3))] == [(0, 0), (1, 0)]
    assert [(a.id, b.id) for a, b in pairs(topology, (0,))] == [(0, 0)]
    with pytest.raises(RequestError, match="no NUMA node"):
        pairs(topology, ())


@pytest.mark.parametrize(
    ("runs", "latency"),
    [
        ([90.0, 91.0, 95.0, 400.0], 90.0),  # others on the machine only make it slower
        ([500.0, 98.9, 90.0, 96.0], 90.0),
        ([90.0, 91.0, 130.0], None),
        ([0.5, 594.0, 300.0], None),
        ([90.0, 90.0], None),
    ],
)
def test_a_latency_is_the_least_of_runs_that_agree(runs: list[float], latency: float | None) -> None:
    assert settled(runs) == latency


def test_the_chain_goes_through_all_of_the_memory() -> None:
    """In what no cache holds a load takes several times as long as in what the nearest one holds."""
    cached, uncached = min(chase(16 << 10, 200_000, 9)), min(chase(128 << 20, 200_000, 5))
    assert 0.2 < cached < uncached / 3


def test_both_maps_begin_at_nothing_and_tell_host_and_what_is_missing() -> None:
    figure_module = pytest.importorskip("matplotlib.figure")
    axes = figure_module.Figure().add_subplot()
    _draw_map(axes, {(0, 0): 200.0, (0, 1): None, (1, 0): 90.0, (1, 1): 210.0}, "latency, ns")
    (image,) = axes.get_images()
    assert image.get_clim() == (0, 210.0)
    assert [text.get_text() for text in axes.texts] == ["200", "-", "90.0", "210"]
    assert axes.get_title() == "latency, ns" and os.uname().nodename in _title()


def test_the_ratio_is_of_means() -> None:
    cells = [Cell(0, 0, 10, None), Cell(0, 1, 4, None), Cell(1, 0, 6, None), Cell(1, 1, 20, None)]
    assert local_to_remote(cells) == 3.0
    assert local_to_remote(cells[:1]) is None


def test_the_json_has_the_documented_fields() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "numa_align", "bench", "--quick", "--json", "--no-gpus", "--no-nics"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    data = json.loads(result.stdout)
    assert set(data) == {"version", "local_to_remote", "toolkit", "memory", "gpus", "nics"}
    assert set(data["memory"][0]) == {"cpu_node", "memory_node", "bandwidth_gb_s", "latency_ns"}


def test_a_heat_map_is_drawn_or_its_lack_said_before_measuring(tmp_path: Path) -> None:
    file = tmp_path / "map.png"
    result = CliRunner().invoke(command, ["--quick", "--no-gpus", "--plot", str(file)])
    try:
        import matplotlib  # noqa: F401, PLC0415
    except ImportError:
        assert isinstance(result.exception, RequestError) and "pip install matplotlib" in str(
            result.exception
        )
    else:
        assert result.exit_code == 0, result.output
        assert file.read_bytes().startswith(b"\x89PNG")


#: Stands in for perftest's program: the server waits for one client, who says 8 Gbit/s for each of its CPUs.
WRITES = """#!{python}
import os, socket, sys
port = next(int(word.partition("=")[2]) for word in sys.argv if word.startswith("--port="))
if {broken!r}:
    sys.exit(" Couldn't allocate MR\\n failed to create mr")
if sys.argv[-1] == "localhost":
    socket.create_connection(("localhost", port)).close()
    print(" a warning of some kind")
    print(8.0 * len(os.sched_getaffinity(0)))
else:
    with socket.create_server(("localhost", port)) as server:
        server.accept()
"""


@pytest.fixture
def perftest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Puts a stand-in, sound or broken, where programs are looked for."""

    def put(broken: bool) -> None:
        program(tmp_path / "bin" / PROGRAM, WRITES.format(python=sys.executable, broken=broken))
        monkeypatch.setenv("PATH", f"{tmp_path}/bin")

    return put


def card(**fields: Any) -> Nic:
    """A card that can be measured, but for these fields."""
    nic = Nic("0000:01:00.0", "mlx5_0", "roce", (), (1,), True, None, None, 0, "numa_node", (), "/dev/null")
    return nic._replace(**fields)


def test_writes_through_a_card_are_by_the_cpus_of_the_node(perftest: Callable[[bool], None]) -> None:
    perftest(False)
    allowed, node = os.sched_getaffinity(0), read_here().nodes[0]
    assert measure_nic(card(), node, (min(allowed),), TINY) == Write(node.id, "mlx5_0", 1.0)
    assert os.sched_getaffinity(0) == allowed


def test_a_card_that_cannot_be_measured_is_named_with_the_reason(perftest: Callable[[bool], None]) -> None:
    perftest(True)
    with pytest.raises(RequestError, match=r"ib_write_bw failed: Couldn't allocate MR failed to create mr"):
        measure_nic(card(), read_here().nodes[0], tuple(os.sched_getaffinity(0)), TINY)


def test_only_cards_that_can_be_measured_are(perftest: Callable[[bool], None]) -> None:
    nics = (
        card(),
        card(name="down", ports=(), up=False),
        card(name="cxi0", kind="slingshot", ports=()),
        card(name="closed", device="/dev/no-such-device"),
        card(name="mlx5_1", kind="infiniband", ports=(2,)),
    )
    topology = Machine().topology()._replace(nics=nics)
    assert measurable(topology) == [] or shutil.which(PROGRAM)
    perftest(False)
    assert [nic.name for nic in measurable(topology)] == ["mlx5_0", "mlx5_1"]


def test_what_a_card_refuses_is_said_and_the_rest_is_printed(
    perftest: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    perftest(True)
    monkeypatch.setattr(nic_writes, "measurable", lambda topology: [card()])
    result = CliRunner().invoke(command, ["--quick", "--no-gpus"])
    assert result.exit_code == 0 and "Memory of node" in result.output
    assert "numa-align: not measured: node 0, mlx5_0: ib_write_bw failed: Couldn't" in result.output


def test_writes_are_printed_by_node_and_card(capsys: pytest.CaptureFixture[str]) -> None:
    _print(_Measured([], [], [Write(0, "mlx5_0", 24.6), Write(1, "mlx5_0", 21.25)]), None)
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "mlx5" in line]
    assert rows == [["0", "mlx5_0", "24.6"], ["1", "mlx5_0", "21.25"]]
