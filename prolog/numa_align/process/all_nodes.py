"""A step beside a running job, with one task on each of its nodes, to inspect what runs there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Optional

from ..errors import RequestError


def program(name: str, why: str) -> str:
    """The path of one of Slurm's commands; RequestError says ``why`` it is needed."""
    found = shutil.which(name)
    if found is None:
        raise RequestError(f"{why} needs {name}, which is not in PATH")
    return found


def count_nodes(job: int) -> int:
    """The nodes of a running job, by squeue's %D: a step that does not give a number gets one node."""
    done = _squeue(program("squeue", "--all-nodes"), job, "%D")
    if done.returncode != 0 or not done.stdout.strip().isdigit():
        said = done.stderr.strip().rpartition("\n")[2]
        raise RequestError(
            f"squeue names no running job {job}{': ' if said else ''}{said}; squeue lists yours"
        )
    return int(done.stdout)


def owner_of(job: int) -> Optional[int]:
    """The uid of a running job's owner, by squeue's %U; None if Slurm does not know it."""
    squeue = shutil.which("squeue")
    if squeue is None:
        return None
    try:
        done = _squeue(squeue, job, "%U", timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else None


def _squeue(
    path: str, job: int, column: str, timeout: Optional[float] = None
) -> subprocess.CompletedProcess[str]:
    command = [path, "--noheader", f"--jobs={job}", "--states=RUNNING", f"--format={column}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)


def step_beside(job: int, nodes: int, words: Sequence[str], *, label: bool = False) -> list[str]:
    """The command line of srun for it. Lines of several nodes may mix; ``label`` tells them apart."""
    command = [
        program("srun", "--all-nodes"),
        f"--jobid={job}",
        "--overlap",
        f"--nodes={nodes}",
        f"--ntasks={nodes}",
    ]
    command += ["--ntasks-per-node=1", "--mem=0", "--cpu-bind=none"]
    return [*command, *(["--label"] if label else []), *words]


def clean_environment() -> dict[str, str]:
    """The environment without options of a surrounding batch script, which are not meant for that step."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "NUMA_ALIGN"))}
    if "SLURM_CONF" in os.environ:
        clean["SLURM_CONF"] = os.environ["SLURM_CONF"]
    return clean
