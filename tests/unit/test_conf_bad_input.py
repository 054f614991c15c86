"""``numa-align conf`` with bad input: one line that says where, exit status 2, and nothing is written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from builder import Machine, on_nodes
from numa_align.topology.as_json import to_json

TWO = Machine(packages=2, cores=4, gpus=on_nodes(0, 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A machine's tree, facts of two nodes, and a correct slurm.conf."""
    TWO.write(tmp_path / "tree")
    (tmp_path / "facts").mkdir()
    for name in ("n1", "n2"):
        (tmp_path / f"facts/{name}.json").write_text(to_json(TWO.topology(), name))
    (tmp_path / "slurm.conf").write_text("ClusterName=x\nNodeName=n1 CPUs=8\n")
    return tmp_path


def put(folder: Path, path: str, text: str | bytes) -> None:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text if isinstance(text, bytes) else text.encode())


#: The files to write, the command line, and the message; FOLDER stands for their folder.
CASES: dict[str, tuple[tuple[str, str | bytes] | None, str, str]] = {
    "a tree that is not there": (
        None,
        "gres --root FOLDER/none --node n1",
        "FOLDER/none: is not a directory",
    ),
    "a file in place of a tree": (
        ("x", "x"),
        "gres --root FOLDER/x --node n1",
        "FOLDER/x: is not a directory",
    ),
    "a tree without a machine": (
        ("x/y", "x"),
        "all --root FOLDER/x --node n1",
        "FOLDER/x: no CPU is described",
    ),
    "a tree of noise": (
        ("x/sys/devices/system/cpu/online", b"\xff\x00\x01"),
        "all --root FOLDER/x --node n1",
        "FOLDER/x: no CPU is described",
    ),
    "a tree that contradicts itself": (
        ("tree/proc/driver/nvidia/gpus/0000:11:00.0/information", "Device Minor: \t 1\n"),
        "gres --root FOLDER/tree --node n1",
        "FOLDER/tree: its facts conflict: two GPUs have the same minor",
    ),
    "an unknown version": (
        None,
        "all --root FOLDER/tree --node n1 --slurm-version 19.05",
        "'19.05' is not known",
    ),
    "a file of facts that is none": (
        ("facts/n2.json", "{\n\n!\n}\n"),
        "gres --facts FOLDER/facts",
        "FOLDER/facts/n2.json:3: is not what `numa-align topo --json` prints",
    ),
    "facts that conflict": (
        ("facts/other.json", to_json(Machine(packages=1).topology(), "n1")),
        "gres --facts FOLDER/facts",
        "FOLDER/facts/other.json: differs from FOLDER/facts/n1.json about node n1",
    ),
    "a slurm.conf that is none": (
        ("slurm.conf", "# ours\n\nroot:x:0:0:root:/root:/bin/bash\n"),
        "slurm --slurm-version 24.11 --facts FOLDER/facts --diff FOLDER/slurm.conf",
        "FOLDER/slurm.conf:3: is not a line of slurm.conf",
    ),
    "a gres.conf for slurm.conf": (
        ("slurm.conf", "# ours\nAutoDetect=nvml\n"),
        "slurm --slurm-version 24.11 --facts FOLDER/facts --diff FOLDER/slurm.conf",
        "FOLDER/slurm.conf:2: is not a slurm.conf",
    ),
    "a program for slurm.conf": (
        ("slurm.conf", b"\x7fELF\xff\xfe"),
        "slurm --slurm-version 24.11 --facts FOLDER/facts --diff FOLDER/slurm.conf",
        "FOLDER/slurm.conf:1: is not a slurm.conf",
    ),
    "a folder for slurm.conf": (
        None,
        "slurm --slurm-version 24.11 --facts FOLDER/facts --diff FOLDER",
        "FOLDER: cannot be read",
    ),
    "an included file that is none": (
        ("slurm.conf", "ClusterName=x\ninclude tree/nothing\n"),
        "slurm --slurm-version 24.11 --facts FOLDER/facts --diff FOLDER/slurm.conf",
        "FOLDER/slurm.conf:2: includes FOLDER/tree/nothing: cannot be read",
    ),
}


def snapshot(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_named_and_nothing_is_written(case: str, folder: Path) -> None:
    files, words, message = CASES[case]
    if files:
        put(folder, *files)
    before = snapshot(folder)
    command = [sys.executable, "-m", "numa_align", "conf", *words.replace("FOLDER", str(folder)).split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert re.fullmatch(r"numa-align: [^\n]+\n", done.stderr), done.stderr
    assert message.replace("FOLDER", str(folder)) in done.stderr
    assert snapshot(folder) == before


def test_good_input_prints_and_also_writes_no_file(folder: Path) -> None:
    before = snapshot(folder)
    words = ["conf", "slurm", "--facts", "facts", "--diff", "slurm.conf", "--slurm-version", "24.11"]
    command = [sys.executable, "-m", "numa_align", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    assert "+NodeName=n1 CPUs=8 Boards=1" in done.stdout
    assert snapshot(folder) == before
