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
from numa_align.bench.host_memory import Cell, Effort, local_to_remote, measure_memory, pairs
from numa_align.cli.bench import command
from numa_align.errors import RequestError
from numa_align.process.affinity import read_policy
from numa_align.topology.read import read_here

TINY = Effort(1 << 20, 1, 2000)


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
