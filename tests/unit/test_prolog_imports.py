"""What a prolog and an epilog load: each job waits on each node for every additional module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from builder import Card, Machine, on_nodes
from numa_align.topology.gpu.vendors import VENDORS

PACKAGE = Path(__file__).resolve().parents[2] / "prolog"

#: Of Python's own: os with what it is made of, and the fields of records.
OF_PYTHON = {
    "__future__", "_collections_abc", "_operator", "_stat", "genericpath", "operator", "os", "os.path",
    "posixpath", "stat", "time",
}  # fmt: skip
OF_BOTH = {
    "cpulist",
    "errors",
    "hooks",
    "hooks.prolog",
    "light_typing",
    "placement",
    "placement.table",
    "sysfs",
}
OF_THE_PROLOG = {
    "slurm_files", "slurm_files.conffile", "slurm_files.gres_index", "slurm_files.gres_lines",
    "slurm_files.hostlist", "slurm_files.which_conf", "topology", "topology.gpu", "topology.gpu.find",
    "topology.gpu.pci", "topology.gpu.vendors", "topology.locality", "topology.model", "topology.read",
}  # fmt: skip


def names(*groups: set[str]) -> set[str]:
    return {"numa_align", *(f"numa_align.{name}" for group in groups for name in group)}


def loaded(call: str, tmp_path: Path) -> set[str]:
    """The modules that the call brings into a Python as slurmd starts it, beside those of its start."""
    program = (
        "import sys; before = set(sys.modules)\n"
        f"sys.path.insert(0, {str(PACKAGE)!r})\n"
        f"from numa_align.hooks.prolog import prolog, epilog\n{call}\n"
        "after = sorted(set(sys.modules) - before)\n"
        "import json; print(json.dumps(after))"
    )
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_GPUS": "0,1", "SLURMD_NODENAME": "n1"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        env={"PATH": os.environ["PATH"], **job},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stderr == ""
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("vendor", ["nvidia", "amd", "intel"])
def test_a_prolog_loads_no_more_than_it_needs(vendor: str, tmp_path: Path) -> None:
    Machine(packages=2, cores=2, gpus=on_nodes(0, 1, vendor=VENDORS[vendor].pci)).write(tmp_path)
    (tmp_path / "etc/slurm").mkdir(parents=True)
    (tmp_path / "etc/slurm/slurm.conf").write_text("ClusterName=c\n")
    (tmp_path / "etc/slurm/gres.conf").write_text("NodeName=n1 Name=gpu File=/dev/nvidia[0-1]\n")
    modules = loaded(f"prolog({str(tmp_path)!r}, {str(tmp_path / 'run')!r})", tmp_path)
    assert (tmp_path / "run/1").read_text().count("\ngpu ") == 2
    assert modules - OF_PYTHON == names(OF_BOTH, OF_THE_PROLOG, {f"topology.gpu.{vendor}"})


def test_looking_for_room_costs_a_prolog_five_modules_more(tmp_path: Path) -> None:
    Machine(packages=1, cores=2, gpus=on_nodes(0, 0)).write(tmp_path)
    (tmp_path / "etc/numa-align").mkdir(parents=True)
    (tmp_path / "etc/numa-align/prolog.conf").write_text("room=1\n")  # MiB, which are free on every machine
    modules = loaded(f"prolog({str(tmp_path)!r}, {str(tmp_path / 'run')!r})", tmp_path)
    process = {"process", *(f"process.{name}" for name in ("make_room", "node_memory", "room"))}
    expected = names(OF_BOTH, OF_THE_PROLOG, process, {"hooks.prolog_conf", "topology.gpu.nvidia"})
    assert modules - OF_PYTHON <= expected and names(process) <= modules


def test_cards_cost_a_prolog_two_modules_more(tmp_path: Path) -> None:
    card = Card("0000:12:00.0", "pci0000:10/0000:10:01.0", rdma="mlx5_0")
    Machine(packages=2, cores=2, gpus=on_nodes(0, 1), cards=[card]).write(tmp_path)
    modules = loaded(f"prolog({str(tmp_path)!r}, {str(tmp_path / 'run')!r})", tmp_path)
    assert (tmp_path / "run/1").read_text().count("\nnote nic ") == 1
    cards = {f"numa_align.topology.{name}" for name in ("nic", "attached")}
    assert cards <= modules and "typing" not in modules and "numa_align.topology.nvme" not in modules


def test_an_epilog_loads_less(tmp_path: Path) -> None:
    modules = loaded(f"epilog({str(tmp_path / 'run')!r})", tmp_path)
    assert modules - OF_PYTHON == names(OF_BOTH)
