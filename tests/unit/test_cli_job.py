"""``numa-align job --all-nodes``: what it asks Slurm's programs, which are fakes here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def ask(folder: Path, squeue: str) -> subprocess.CompletedProcess[str]:
    """srun prints how it was called, and what it sees of the environment."""
    fakes = {"srun": 'echo "$*"; env', "squeue": squeue}
    for name, text in fakes.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{folder}:/usr/bin:/bin",
        "SLURM_CONF": "/site/slurm.conf",
        "SLURM_NNODES": "1",
    }
    command = [sys.executable, "-m", "numa_align", "job", "7", "--all-nodes", "--json"]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_a_task_runs_on_each_node_of_the_job(tmp_path: Path) -> None:
    done = ask(tmp_path, "echo 3")
    line, *environment = done.stdout.splitlines()
    assert line == (
        "--jobid=7 --overlap --nodes=3 --ntasks=3 --ntasks-per-node=1 --mem=0 --cpu-bind=none"
        " numa-align job 7 --json"
    )
    assert "SLURM_CONF=/site/slurm.conf" in environment
    assert not any(entry.startswith("SLURM_NNODES") for entry in environment)


@pytest.mark.parametrize("squeue", ["exit 0", "echo slurm_load_jobs error: Invalid job id >&2; exit 1"])
def test_a_job_that_does_not_run_is_one_line(tmp_path: Path, squeue: str) -> None:
    done = ask(tmp_path, squeue)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("numa-align: squeue names no running job 7")
    assert done.stderr.count("\n") == 1
