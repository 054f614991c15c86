"""Samples of many nodes: through ClusterShell where it is installed, else through steps of one's own jobs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

from ..errors import AuditError
from ..process.all_nodes import clean_environment, program, step_beside
from .model import Sample, from_json

_COMMAND = "numa-align audit --json"
_TIMEOUT = 60


def ask_all() -> tuple[list[Sample], Mapping[str, str]]:
    """The samples by node, and of nodes that did not answer why. Raises AuditError, RequestError."""
    try:
        tasks: Any = import_module("ClusterShell.Task")
    except ImportError:
        return _through_own_jobs()
    return _through_shell(tasks, nodes_with_gpus())


def nodes_with_gpus() -> list[str]:
    """Names of the nodes whose gres have GPUs and that are up, by sinfo."""
    words = [program("sinfo", "--all"), "--noheader", "--Node", "--responding", "--format=%N|%G"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    if done.returncode != 0:
        raise AuditError(f"sinfo failed: {done.stderr.strip().rpartition(chr(10))[2]}")
    return sorted(_with_gpus(done.stdout.splitlines()))


def _with_gpus(lines: Iterable[str]) -> set[str]:
    found = set()
    for line in lines:
        name, _, gres = line.partition("|")
        if any(one.partition(":")[0] == "gpu" for one in gres.split(",")):
            found.add(name)
    return found


def _through_shell(tasks: Any, nodes: list[str]) -> tuple[list[Sample], dict[str, str]]:
    """ClusterShell's fan-out over ssh, with its own progress and limits."""
    task = tasks.task_self()
    task.run(_COMMAND, nodes=",".join(nodes), timeout=_TIMEOUT)
    samples, silent = [], dict.fromkeys(nodes, f"no answer in {_TIMEOUT} s")
    for buffer, names in task.iter_buffers():
        for name in names:
            text = bytes(buffer).decode("utf-8", "replace")
            try:
                samples += list(_samples(text.splitlines(), str(name)))
                silent.pop(str(name), None)
            except AuditError:
                silent[str(name)] = " ".join(text.split())[-200:]
    return sorted(samples, key=lambda sample: sample.node), silent


def _through_own_jobs() -> tuple[list[Sample], dict[str, str]]:
    """A step beside each of this user's jobs: what a user may see without ssh."""
    words = [program("squeue", "--all"), "--noheader", "--me", "--states=RUNNING", "--format=%A|%D"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    if done.returncode != 0 or not done.stdout.strip():
        raise AuditError(
            "ClusterShell is not installed and this user has no running job: install it, or gather what "
            "`numa-align audit --json` prints on each node and merge it with --from"
        )
    samples: dict[str, Sample] = {}
    silent: dict[str, str] = {}
    for line in done.stdout.split():
        job, _, nodes = line.partition("|")
        step = step_beside(int(job), int(nodes), _COMMAND.split())
        ran = subprocess.run(
            step, capture_output=True, text=True, check=False, timeout=_TIMEOUT * 2, env=clean_environment()
        )
        for sample in _samples(ran.stdout.splitlines(), f"job {job}"):
            samples[sample.node] = sample
        if ran.returncode != 0:
            silent[f"job {job}"] = " ".join(ran.stderr.split())[-200:] or f"srun ended with {ran.returncode}"
    return [samples[node] for node in sorted(samples)], silent


def _samples(lines: Iterable[str], where: str) -> Iterator[Sample]:
    for line in lines:
        if line.strip():
            try:
                data = json.loads(line)
            except ValueError as error:
                raise AuditError(f"{where}: answered {line[:80]!r}") from error
            yield from_json(data, where)
