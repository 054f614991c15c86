"""Samples of all nodes through the real ClusterShell; ssh is a fake that answers for the node it is told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from numa_align.audit import gather
from numa_align.audit.model import Sample, to_json
from numa_align.cli.audit import said_of_silent
from numa_align.errors import AuditError
from unit.programs import program

FAKE_SSH = """#!/bin/sh
for word; do case $word in gpu*) node=$word;; esac; done
echo "Warning: Permanently added '$node' to the list of known hosts." >&2
case $node in
gpu7) echo "numa-align: command not found"; exit 127;;
gpu8) echo "ssh: connect to host gpu8 port 22: No route to host" >&2; exit 255;;
gpu9) exec sleep 100;;
esac
cat {folder}/$node
"""


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Six nodes that answer, and three that fail in different ways; ClusterShell takes ssh from PATH."""
    names = [f"gpu{number}" for number in range(1, 10)]
    for name in names[:6]:
        (tmp_path / name).write_text(json.dumps(to_json(Sample(name, 1.0, 8, ()))) + "\n")
    program(tmp_path / "ssh", FAKE_SSH.format(folder=tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(gather, "_TIMEOUT", 3)
    monkeypatch.setattr(gather, "nodes_with_gpus", lambda: names)
    return names


def test_all_nodes_are_asked_and_those_that_do_not_answer_are_named(nodes: list[str]) -> None:
    steps: list[tuple[int, int]] = []
    samples, silent = gather.ask_all(lambda done, of: steps.append((done, of)))
    assert [sample.node for sample in samples] == nodes[:6], silent
    assert set(silent) == {"gpu7", "gpu8", "gpu9"}
    assert "command not found" in silent["gpu7"]
    assert "No route to host" in silent["gpu8"]
    assert silent["gpu9"] == "no answer in 3 s"
    assert steps == [(done, 9) for done in range(1, 10)]


def test_a_slurmctld_that_does_not_answer_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sinfo", "squeue"):
        program(tmp_path / name, "#!/bin/sh\nexec sleep 100\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(gather, "_TIMEOUT", 1)
    with pytest.raises(AuditError, match="sinfo gave no answer in 1 s"):
        gather.nodes_with_gpus()
    monkeypatch.setitem(sys.modules, "ClusterShell.Task", None)
    with pytest.raises(AuditError, match="squeue gave no answer in 1 s"):
        gather.ask_all()


def test_a_step_that_does_not_start_leaves_its_job_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("squeue", "echo '7|1'"), ("srun", "exec sleep 100")):
        program(tmp_path / name, f"#!/bin/sh\n{text}\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(gather, "_TIMEOUT", 1)
    monkeypatch.setitem(sys.modules, "ClusterShell.Task", None)
    assert gather.ask_all() == ([], {"job 7": "no answer in 2 s"})


def test_nodes_that_fail_alike_share_a_line() -> None:
    silent = {"n3": "no answer in 60 s", "n1": "no answer in 60 s", "n2": "no answer in 60 s", "n9": "no"}
    assert list(said_of_silent(silent)) == [
        "n[1-3] did not answer: no answer in 60 s",
        "n9 did not answer: no",
    ]
