"""`bench` measures what it says, and says in a line what it lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from builder import Machine
from click.testing import CliRunner
from numa_align.bench.as_json import local_to_remote
from numa_align.bench.host_memory import Cell, Effort, chase, measure_memory, pairs, settled
from numa_align.cli.bench import _draw_map, _title, command
from numa_align.errors import RequestError
from numa_align.process.affinity import read_policy
from numa_align.topology.read import read_here

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
        [sys.executable, "-m", "numa_align", "bench", "--quick", "--json", "--no-gpus"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    data = json.loads(result.stdout)
    assert set(data) == {"version", "local_to_remote", "toolkit", "memory", "gpus"}
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
