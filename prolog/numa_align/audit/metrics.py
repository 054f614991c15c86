"""A sample as metrics for node_exporter's textfile collector, with counters that continue over restarts.

The format is Prometheus' text format, version 0.0.4, which that collector reads. Metrics with a label for
each job are limited to the `MAX_JOBS` jobs with the most GPUs that are not aligned.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Optional

from ..errors import AuditError
from ..names import STATES
from .model import Sample, TaskSample, state_of_gpus, totals, without_names

#: How many jobs get metrics of their own.
MAX_JOBS = 64

#: A longer gap means that the node was down or the timer was off; it is not counted.
MAX_GAP_SECONDS = 600.0

_SECONDS = "numa_align_gpu_seconds_total"
_TIME = "numa_align_sample_timestamp_seconds"
_LINE = re.compile(r"^(?P<name>[a-z_]+)(?:\{state=\"(?P<state>[a-z-]+)\"\})? (?P<value>[0-9.e+]+)$")


def format_metrics(sample: Sample, before: str = "", names: bool = True) -> str:
    """The text of a metrics file; the counters continue from ``before``, the file that it replaces.

    Without ``names``, users are not named.
    """
    shown = sample if names else without_names(sample)
    return "\n".join([*_lines(shown, _seconds(sample, before)), ""])


def _lines(sample: Sample, seconds: Mapping[str, float]) -> Iterator[str]:
    total = totals([sample])
    yield from _head("numa_align_gpus", "gauge", "GPUs that a task uses, by the state of the task.")
    yield from (f'numa_align_gpus{{state="{state}"}} {total.by_state[state]}' for state in STATES)
    yield from _head("numa_align_node_gpus", "gauge", "GPUs of this node.")
    yield f"numa_align_node_gpus {sample.gpus}"
    yield from _head("numa_align_idle_near_cores", "gauge", "Cores near the GPUs in use that no job has.")
    yield f"numa_align_idle_near_cores {sample.idle_near_cores}"
    if total.rehearsed:
        yield from _head(
            "numa_align_rehearsed_gpus", "gauge", "GPUs of tasks that a dry run has decided for."
        )
        unchanged = total.rehearsed - total.would_change
        yield f'numa_align_rehearsed_gpus{{change="yes"}} {total.would_change}'
        yield f'numa_align_rehearsed_gpus{{change="no"}} {unchanged}'
    yield from _head("numa_align_memory_bytes", "gauge", "Memory of tasks with GPUs, near and far from them.")
    yield f'numa_align_memory_bytes{{place="near"}} {total.near_bytes}'
    yield f'numa_align_memory_bytes{{place="far"}} {total.bytes - total.near_bytes}'
    yield from _head("numa_align_job_gpus", "gauge", "GPUs of a job, by the state of its tasks.")
    yield from _job_lines(sample)
    yield from _head(_SECONDS, "counter", "Seconds that GPUs were used, by the state of the task.")
    yield from (f'{_SECONDS}{{state="{state}"}} {seconds[state]:.1f}' for state in STATES)
    yield from _head(_TIME, "gauge", "When this sample was taken.")
    yield f"{_TIME} {sample.time:.3f}"


def _head(name: str, kind: str, words: str) -> tuple[str, str]:
    return f"# HELP {name} {words}", f"# TYPE {name} {kind}"


def _job_lines(sample: Sample) -> Iterator[str]:
    jobs: dict[int, list[TaskSample]] = defaultdict(list)
    for task in sample.tasks:
        jobs[task.job].append(task)
    counted = {job: Counter(state_of_gpus(tasks).values()) for job, tasks in jobs.items()}
    order = sorted(counted, key=lambda job: (-(sum(counted[job].values()) - counted[job]["aligned"]), job))
    for job in sorted(order[:MAX_JOBS]):
        user = _escaped(jobs[job][0].user)
        labels = f'job="{job}",user="{user}"' if user else f'job="{job}"'
        for state, count in sorted(counted[job].items()):
            yield f'numa_align_job_gpus{{{labels},state="{state}"}} {count}'


def _escaped(value: str) -> str:
    """A label's value with backslash, quote and line feed escaped (Prometheus: exposition formats)."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _seconds(sample: Sample, before: str) -> dict[str, float]:
    """The counters: those of the previous file, plus the time since then for what runs now."""
    counters: dict[str, float] = dict.fromkeys(STATES, 0.0)
    last = None
    for line in before.splitlines():
        match = _LINE.match(line)
        if match and match["name"] == _SECONDS and match["state"] in counters:
            counters[match["state"]] = float(match["value"])
        elif match and match["name"] == _TIME:
            last = float(match["value"])
    gap = sample.time - last if last is not None else 0.0
    if 0 < gap <= MAX_GAP_SECONDS:
        for state in state_of_gpus(sample.tasks).values():
            counters[state] += gap
    return counters


def write_metrics(path: Path, sample: Sample, names: bool = True) -> None:
    """Replace the file atomically, as the collector may read it at any time. Raises AuditError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fresh.write_text(format_metrics(sample, _read(path) or "", names), encoding="utf-8")
        # node_exporter runs as a user of its own.
        fresh.chmod(0o644)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise AuditError(f"{path}: cannot be written: {error.strerror}") from error


def _read(path: Path) -> Optional[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return None
