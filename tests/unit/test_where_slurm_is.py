"""Slurm's index means the same GPU to every command: its files are found in one place."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from builder import Machine, on_nodes
from click.testing import CliRunner
from numa_align.cli import cli
from numa_align.hooks.prolog import read_node
from numa_align.topology.read import read_at, read_here

#: Slurm's indexes 0 to 3 are the GPUs 2, 3, 0, 1.
TURNED = "NodeName=gpu01 Name=gpu File=/dev/nvidia[2-3]\nNodeName=gpu01 Name=gpu File=/dev/nvidia[0-1]\n"
INDEXES = [2, 3, 0, 1]
PROLOG = Path(__file__).resolve().parents[2] / "prolog/numa_align"


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Machine(packages=2, gpus=on_nodes(0, 0, 1, 1)).write(tmp_path / "root")


def here(root: Path, **environment: str) -> list[object]:
    return [gpu.index for gpu in read_here({"SLURMD_NODENAME": "gpu01", **environment}, root=root).gpus]


@pytest.mark.parametrize("place", ["etc/slurm", "run/slurm/conf", "etc/slurm-llnl"])
def test_gres_conf_is_found_in_a_usual_place(place: str, root: Path) -> None:
    put(root / place / "slurm.conf", "")
    put(root / place / "gres.conf", TURNED)
    assert here(root) == INDEXES


def test_gres_conf_lies_beside_the_file_that_slurm_conf_names(root: Path, tmp_path: Path) -> None:
    put(root / "etc/slurm/slurm.conf", "")
    put(root / "etc/slurm/gres.conf", "Name=gpu File=/dev/nvidia[0-3]\n")
    conf = put(tmp_path / "opt/slurm.conf", "")
    put(tmp_path / "opt/gres.conf", TURNED)
    assert here(root, SLURM_CONF=str(conf)) == INDEXES


def test_another_clusters_gres_conf_is_not_read(root: Path, tmp_path: Path) -> None:
    put(root / "etc/slurm/gres.conf", TURNED)
    conf = put(tmp_path / "opt/slurm.conf", "")
    assert here(root, SLURM_CONF=str(conf)) == [None] * 4


def test_a_configless_node_reads_what_slurmd_was_given(root: Path) -> None:
    # Left over from before: without a slurm.conf beside it Slurm does not look at it either.
    put(root / "etc/slurm/gres.conf", "Name=gpu File=/dev/nvidia[0-3]\n")
    put(root / "run/slurm/conf/slurm.conf", "")
    put(root / "run/slurm/conf/gres.conf", TURNED)
    assert here(root) == INDEXES


def test_the_prolog_reads_the_node_as_the_commands_do(root: Path, tmp_path: Path) -> None:
    conf = put(tmp_path / "opt/slurm.conf", "")
    put(tmp_path / "opt/gres.conf", TURNED)
    environment = {"SLURM_CONF": str(conf), "SLURMD_NODENAME": "gpu01"}
    assert read_node(environment, root) == read_here(environment, root=root)


def test_outside_a_job_the_node_is_called_by_its_host_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uname = type("Uname", (), {"nodename": "gpu01.example.org"})
    monkeypatch.setattr("os.uname", lambda: uname)
    put(root / "etc/slurm/gres.conf", TURNED)
    assert [gpu.index for gpu in read_here({}, root=root).gpus] == INDEXES


def said(root: Path, *words: str) -> Any:
    result = CliRunner().invoke(
        cli, [*words, "--root", str(root), "--node-name", "gpu01", "--json"], catch_exceptions=False
    )
    return json.loads(result.stdout)


def test_a_node_name_means_the_same_gpu_to_every_command(root: Path) -> None:
    put(root / "etc/slurm/gres.conf", TURNED)
    (zero,) = (gpu for gpu in said(root, "topo")["gpus"] if gpu["index"] == 0)
    assert (zero["node"], zero["minor"]) == (1, 2)
    assert "--physcpubind=4-5 " in said(root, "show", "--as", "numactl", "--gpus", "0")["text"]
    assert said(root, "plan", "-n1", "--gpus", "0")["tasks"][0]["gpus"] == [zero["bdf"]]
    assert said(root, "gpus", "1")["gpus"][0]["number"] == 2


def test_the_running_machine_is_read_in_one_way_only() -> None:
    """Reading / with read_at() would not give Slurm's name of the node, nor find its files."""
    wrong = []
    for path in PROLOG.rglob("*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            if name == "read_at" and path.name not in ("recorded.py", "read.py"):
                wrong.append(f"{path.name}:{call.lineno}")
    assert wrong == []
    assert read_at("/").online == read_here().online
