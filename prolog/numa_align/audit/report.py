"""Sums of samples over time: GPU hours by state, user and partition, and the worst jobs. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Optional

from ..names import STATES, Cause
from .metrics import MAX_GAP_SECONDS
from .model import Sample, state_of_gpus

#: How to remove a cause: a line for a job script, or advice to the site.
ADVICE: Mapping[Cause, str] = {
    "not-asked": "#SBATCH --numa-align",
    "rehearsed": "plugstack.conf: without dry it is aligned as rehearsed (audit --tasks)",
    "undone": "the program sets its own CPUs: switch that off, or start its workers with numa-align run",
    "explicit": "remove --cpu-bind=/--mem-bind= from the script",
    "few-cores": "#SBATCH --cpus-per-gpu=N, one core for each GPU at least",
    "allocated-far": "#SBATCH --gres-flags=enforce-binding",
    "hidden": "take samples as root",
}


@dataclass(frozen=True)
class WorstJob:
    """A job with its GPU hours that were not aligned, and the line that would change that."""

    job: int
    user: str
    hours: float
    cause: Cause
    advice: str


@dataclass(frozen=True)
class Report:
    """Sums over a period. ``hours`` are GPU hours by state; the next two are by user and by partition."""

    begin: float
    end: float
    nodes: int
    samples: int
    hours: Mapping[str, float]
    by_user: Mapping[str, Mapping[str, float]]
    by_partition: Mapping[str, Mapping[str, float]]
    worst: tuple[WorstJob, ...]

    @property
    def total(self) -> float:
        """GPU hours in all states."""
        return sum(self.hours.values())

    @property
    def misplaced(self) -> float:
        """GPU hours in all states but ``aligned``."""
        return self.total - self.hours.get("aligned", 0.0)


@dataclass(frozen=True)
class Estimate:
    """An upper bound of what misplaced GPU hours have cost, from the site's own measurements.

    ``what`` was measured, ``near`` and ``far`` in GB/s. A job that does nothing else loses the whole
    difference; a job that only computes loses nothing.
    """

    misplaced_hours: float
    lost_hours_at_most: float
    what: str
    near: float
    far: float


#: GPU hours by state.
Hours = dict[str, float]


class _Sums:
    def __init__(self) -> None:
        self.hours: Hours = dict.fromkeys(STATES, 0.0)
        self.users: defaultdict[str, Hours] = defaultdict(lambda: dict.fromkeys(STATES, 0.0))
        self.partitions: defaultdict[str, Hours] = defaultdict(lambda: dict.fromkeys(STATES, 0.0))
        self.jobs: defaultdict[tuple[int, str], defaultdict[Cause, float]] = defaultdict(
            lambda: defaultdict(float)
        )

    def add(self, sample: Sample, hours: float) -> None:
        states = state_of_gpus(sample.tasks)
        counted: set[str] = set()
        for task in sample.tasks:
            for gpu in task.gpus:
                # A GPU that several tasks share counts once, for the task whose state it has.
                if gpu in counted or states[gpu] != task.state:
                    continue
                counted.add(gpu)
                self.hours[task.state] += hours
                self.users[task.user][task.state] += hours
                self.partitions[task.partition or "-"][task.state] += hours
                if task.state != "aligned":
                    self.jobs[task.job, task.user][task.cause or "hidden"] += hours


def make_report(samples: Iterable[Sample], begin: float, end: float, worst: int = 10) -> Report:
    """The sums of all samples between ``begin`` and ``end`` (seconds since 1970), which may be in any order.

    A sample stands for the time since the previous one of its node; a gap longer than `MAX_GAP_SECONDS`
    means that the node was down, and does not count.
    """
    by_node: dict[str, dict[float, Sample]] = defaultdict(dict)
    for sample in samples:
        if begin <= sample.time <= end:
            by_node[sample.node][sample.time] = sample
    sums = _Sums()
    for taken in by_node.values():
        last: Optional[float] = None
        for time in sorted(taken):
            if last is not None and time - last <= MAX_GAP_SECONDS:
                sums.add(taken[time], (time - last) / 3600)
            last = time
    return Report(
        begin,
        end,
        len(by_node),
        sum(map(len, by_node.values())),
        dict(sums.hours),
        {user: dict(hours) for user, hours in sorted(sums.users.items())},
        {name: dict(hours) for name, hours in sorted(sums.partitions.items())},
        _worst(sums.jobs, worst),
    )


def _worst(jobs: Mapping[tuple[int, str], Mapping[Cause, float]], count: int) -> tuple[WorstJob, ...]:
    order = sorted(jobs, key=lambda key: (-sum(jobs[key].values()), key))
    found = []
    for job, user in order[:count]:
        causes = jobs[job, user]
        cause = max(causes, key=lambda one: (causes[one], one))
        found.append(WorstJob(job, user, sum(causes.values()), cause, ADVICE[cause]))
    return tuple(found)
