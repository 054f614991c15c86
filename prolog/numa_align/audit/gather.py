"""Samples of many nodes, through ClusterShell if it is installed, else through steps in one's own jobs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import AuditError
from ..process.all_nodes import clean_environment, program, step_beside
from .model import Sample, from_json

_COMMAND = "numa-align audit --json"
_TIMEOUT = 60

#: Called with the number of nodes that have answered, and the number that were asked.
Answered = Callable[[int, int], None]


def ask_all(answered: Answered = lambda done, of: None) -> tuple[list[Sample], Mapping[str, str]]:
    """The samples, and why nodes did not answer, each by node. Raises AuditError, RequestError.

    ``answered`` is called after each answer with the number of answers and the number of nodes asked.
    """
    try:
        tasks: Any = import_module("ClusterShell.Task")
    except ImportError:
        return _through_own_jobs(answered)
    return _through_shell(tasks, nodes_with_gpus(), answered)


def nodes_with_gpus() -> list[str]:
    """Names of the nodes whose gres have GPUs and that are up, by sinfo."""
    words = [program("sinfo", "--all"), "--noheader", "--Node", "--responding", "--format=%N|%G"]
    done = _ask_slurm(words)
    if done.returncode != 0:
        raise AuditError(f"sinfo failed: {done.stderr.strip().rpartition(chr(10))[2]}")
    return sorted(with_gpus(done.stdout.splitlines()))


def _ask_slurm(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands; these try for minutes to reach a slurmctld that is down."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        name = Path(words[0]).name
        raise AuditError(f"{name} gave no answer in {_TIMEOUT} s: is slurmctld running?") from error


def with_gpus(lines: Iterable[str]) -> set[str]:
    """The nodes with GPUs in lines of ``NODE|GRES``, one per node and partition (sinfo's %N and %G)."""
    found = set()
    for line in lines:
        name, _, gres = line.partition("|")
        if any(one.partition(":")[0] == "gpu" for one in gres.split(",")):
            found.add(name)
    return found


def _through_shell(tasks: Any, nodes: list[str], answered: Answered) -> tuple[list[Sample], dict[str, str]]:
    """ClusterShell's fan-out over ssh, with ClusterShell's own limit on parallel connections."""
    task, ended = tasks.task_self(), iter(range(1, len(nodes) + 1))

    class OneMore(import_module("ClusterShell.Event").EventHandler):  # type: ignore[misc]
        """Counts the nodes that answered before the time limit."""

        def ev_hup(self, worker: object, node: str, rc: int) -> None:
            answered(next(ended), len(nodes))

    # Separate from stdout, which has the samples: ssh and login scripts print messages of their own.
    task.run(_COMMAND, nodes=",".join(nodes), timeout=_TIMEOUT, handler=OneMore(), stderr=True)
    answered(len(nodes), len(nodes))
    samples: list[Sample] = []
    silent = dict.fromkeys(nodes, "it printed nothing")
    silent.update(dict.fromkeys(map(str, task.iter_keys_timeout()), f"no answer in {_TIMEOUT} s"))
    for buffer, names in task.iter_errors():
        silent.update({name: _end(buffer) for name in map(str, names) if "no answer" not in silent[name]})
    for buffer, names in task.iter_buffers():
        for name in map(str, names):
            try:
                samples += _samples(bytes(buffer).decode("utf-8", "replace").splitlines(), name)
                silent.pop(name, None)
            except AuditError:
                silent[name] = _end(buffer)
    return sorted(samples, key=lambda sample: sample.node), silent


def _end(buffer: Any) -> str:
    """The last line that a node printed in place of a sample."""
    return " ".join(bytes(buffer).decode("utf-8", "replace").split())[-200:]


def _through_own_jobs(answered: Answered) -> tuple[list[Sample], dict[str, str]]:
    """A step in each of this user's own jobs, which needs no ssh."""
    words = [program("squeue", "--all"), "--noheader", "--me", "--states=RUNNING", "--format=%A|%D"]
    done = _ask_slurm(words)
    if done.returncode != 0 or not done.stdout.strip():
        raise AuditError(
            "ClusterShell is not installed and this user has no running job: install it, or gather what "
            "`numa-align audit --json` prints on each node and merge it with --from"
        )
    samples: dict[str, Sample] = {}
    silent: dict[str, str] = {}
    jobs = done.stdout.split()
    for number, line in enumerate(jobs, 1):
        job, _, nodes = line.partition("|")
        found, why = _beside_job(int(job), int(nodes))
        samples.update({sample.node: sample for sample in found})
        if why:
            silent[f"job {job}"] = why
        answered(number, len(jobs))
    return [samples[node] for node in sorted(samples)], silent


def _beside_job(job: int, nodes: int) -> tuple[list[Sample], str]:
    """The answers of a job's nodes to a step, and the reason if some did not answer, else an empty text."""
    limit = 2 * _TIMEOUT
    try:
        ran = subprocess.run(
            step_beside(job, nodes, _COMMAND.split()),
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
            env=clean_environment(),
        )
    except subprocess.TimeoutExpired:
        return [], f"no answer in {limit} s"
    samples = list(_samples(ran.stdout.splitlines(), f"job {job}"))
    if ran.returncode == 0:
        return samples, ""
    return samples, " ".join(ran.stderr.split())[-200:] or f"srun ended with {ran.returncode}"


def _samples(lines: Iterable[str], where: str) -> Iterator[Sample]:
    for line in lines:
        if line.strip():
            try:
                data = json.loads(line)
            except ValueError as error:
                raise AuditError(f"{where}: answered {line[:80]!r}") from error
            yield from_json(data, where)
