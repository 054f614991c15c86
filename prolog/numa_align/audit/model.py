"""One sample of a node: frozen values, and their JSON, written and read in this module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional, TypedDict

from ..errors import AuditError
from ..json_fields import FieldError, read_fields
from ..names import STATES, Cause, State

VERSION = 1


@dataclass(frozen=True)
class TaskSample:
    """One task that has GPUs. ``gpus`` are PCI addresses; ``cpus`` is a list in the kernel's format.

    ``near_bytes`` of ``bytes`` are near its GPUs; both are 0 if its memory was not examined, for the reason
    in ``memory_skipped``. ``cause`` is one of `names.CAUSES`, or None if aligned. If the site rehearses,
    ``would`` and ``would_cpus`` are the state and the CPUs that the plugin would have given it. ``nics`` are
    the network cards that it has open, and ``near_nics`` those of them to which none is nearer to its GPUs.
    """

    job: int
    step: str
    task: Optional[int]
    user: str
    gpus: tuple[str, ...]
    cpus: str
    policy: str
    bytes: int
    near_bytes: int
    state: State
    cause: Optional[Cause]
    reason: Optional[str]
    processes: int = 1
    partition: Optional[str] = None
    memory_skipped: bool = False
    would: Optional[State] = None
    would_cpus: Optional[str] = None
    nics: tuple[str, ...] = ()
    near_nics: tuple[str, ...] = ()

    @property
    def would_change(self) -> bool:
        """Whether the plugin would have placed the task differently."""
        return self.would is not None and (self.would, self.would_cpus) != (self.state, self.cpus)


@dataclass(frozen=True)
class Sample:
    """What runs on one node at ``time`` (seconds since 1970).

    ``gpus``: how many the node has. ``idle_near_cores``: cores near the GPUs in use that belong to no job.
    ``hidden``: processes of jobs about which this user may not see enough.
    """

    node: str
    time: float
    gpus: int
    tasks: tuple[TaskSample, ...]
    idle_near_cores: int = 0
    hidden: int = 0


@dataclass(frozen=True)
class Totals:
    """Sums over samples: GPUs in use by state (a GPU that several tasks share counts with their best state).

    ``rehearsed``: GPUs of tasks for which the site rehearses; of these, ``would_change`` have a task that the
    plugin would have placed differently, and ``would_align`` are not aligned but would be.
    """

    nodes: int
    gpus: int
    by_state: Mapping[str, int]
    bytes: int
    near_bytes: int
    idle_near_cores: int
    hidden: int
    rehearsed: int = 0
    would_change: int = 0
    would_align: int = 0

    @property
    def in_use(self) -> int:
        """GPUs that some task has."""
        return sum(self.by_state.values())


def totals(samples: Sequence[Sample]) -> Totals:
    """The sums over samples of different nodes."""
    states: Counter[str] = Counter(dict.fromkeys(STATES, 0))
    for sample in samples:
        states.update(state_of_gpus(sample.tasks).values())
    tasks = [task for sample in samples for task in sample.tasks]
    return Totals(
        len(samples),
        sum(sample.gpus for sample in samples),
        dict(states),
        sum(task.bytes for task in tasks),
        sum(task.near_bytes for task in tasks),
        sum(sample.idle_near_cores for sample in samples),
        sum(sample.hidden for sample in samples),
        *_rehearsal(samples),
    )


def _rehearsal(samples: Sequence[Sample]) -> tuple[int, int, int]:
    """GPUs that are rehearsed for; of these, those that would change and those that would become aligned."""
    sets: tuple[set[tuple[str, str]], ...] = (set(), set(), set())
    for sample in samples:
        states = state_of_gpus(sample.tasks)
        for task in sample.tasks:
            for gpu in task.gpus if task.would is not None else ():
                helped = task.would == "aligned" and states[gpu] != "aligned"
                for one, counts in zip(sets, (True, task.would_change, helped)):
                    if counts:
                        one.add((sample.node, gpu))
    return len(sets[0]), len(sets[1]), len(sets[2])


def state_of_gpus(tasks: Sequence[TaskSample]) -> dict[str, State]:
    """The state of each GPU in use, by its address."""
    found: dict[str, State] = {}
    for task in tasks:
        for gpu in task.gpus:
            if gpu not in found or STATES.index(task.state) < STATES.index(found[gpu]):
                found[gpu] = task.state
    return found


def worst(states: Sequence[State]) -> State:
    """The worst of some states, which is the state of a task with several processes; ``aligned`` if empty."""
    return max(states, key=STATES.index, default="aligned")


def without_names(sample: Sample) -> Sample:
    """The sample without users' names, for metrics and files that others read."""
    return replace(sample, tasks=tuple(replace(task, user="") for task in sample.tasks))


# -- JSON ------------------------------------------------------------------------------------


class _TaskFields(TypedDict):
    job: int
    step: str
    task: Optional[int]
    user: str
    gpus: list[str]
    cpus: str
    policy: str
    bytes: int
    near_bytes: int
    state: State
    cause: Optional[Cause]
    reason: Optional[str]


class TaskSampleFields(_TaskFields, total=False):
    """A `TaskSample` in JSON; the fields that follow came later, and older samples lack them."""

    processes: int
    partition: Optional[str]
    memory_skipped: bool
    would: Optional[State]
    would_cpus: Optional[str]
    nics: list[str]
    near_nics: list[str]


class TotalsFields(TypedDict):
    """`Totals` in JSON."""

    nodes: int
    gpus: int
    by_state: dict[str, int]
    bytes: int
    near_bytes: int
    idle_near_cores: int
    hidden: int
    rehearsed: int
    would_change: int
    would_align: int
    in_use: int


class NodeSampleFields(TypedDict):
    """A `Sample` in JSON, as far as it is read."""

    version: int
    node: str
    time: float
    gpus: int
    tasks: list[TaskSampleFields]
    idle_near_cores: int
    hidden: int


class SampleFields(NodeSampleFields):
    """What ``audit --json`` prints; docs/audit.md describes the fields."""

    totals: TotalsFields


def to_json(sample: Sample) -> SampleFields:
    """The schema of docs/audit.md."""
    total = totals([sample])
    return {
        "version": VERSION,
        "node": sample.node,
        "time": sample.time,
        "gpus": sample.gpus,
        "tasks": [_task_fields(task) for task in sample.tasks],
        "idle_near_cores": sample.idle_near_cores,
        "hidden": sample.hidden,
        "totals": {
            "nodes": total.nodes,
            "gpus": total.gpus,
            "by_state": dict(total.by_state),
            "bytes": total.bytes,
            "near_bytes": total.near_bytes,
            "idle_near_cores": total.idle_near_cores,
            "hidden": total.hidden,
            "rehearsed": total.rehearsed,
            "would_change": total.would_change,
            "would_align": total.would_align,
            "in_use": total.in_use,
        },
    }


def _task_fields(task: TaskSample) -> TaskSampleFields:
    return {
        "job": task.job,
        "step": task.step,
        "task": task.task,
        "user": task.user,
        "gpus": list(task.gpus),
        "cpus": task.cpus,
        "policy": task.policy,
        "bytes": task.bytes,
        "near_bytes": task.near_bytes,
        "state": task.state,
        "cause": task.cause,
        "reason": task.reason,
        "processes": task.processes,
        "partition": task.partition,
        "memory_skipped": task.memory_skipped,
        "would": task.would,
        "would_cpus": task.would_cpus,
        "nics": list(task.nics),
        "near_nics": list(task.near_nics),
    }


def from_json(data: object, where: str) -> Sample:
    """A sample that `to_json` wrote; ``where`` names it in messages. Raises AuditError."""
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise AuditError(f"{where}: is not what `numa-align audit --json` of this version prints")
    try:
        fields = read_fields(NodeSampleFields, data)
    except FieldError as error:
        raise AuditError(f"{where}: a field of the sample is missing or wrong: {error}") from error
    return Sample(
        fields["node"],
        fields["time"],
        fields["gpus"],
        tuple(map(_task, fields["tasks"])),
        fields["idle_near_cores"],
        fields["hidden"],
    )


def _task(fields: TaskSampleFields) -> TaskSample:
    return TaskSample(
        fields["job"],
        fields["step"],
        fields["task"],
        fields["user"],
        tuple(fields["gpus"]),
        fields["cpus"],
        fields["policy"],
        fields["bytes"],
        fields["near_bytes"],
        fields["state"],
        fields["cause"],
        fields["reason"],
        fields.get("processes", TaskSample.processes),
        fields.get("partition"),
        fields.get("memory_skipped", TaskSample.memory_skipped),
        fields.get("would"),
        fields.get("would_cpus"),
        tuple(fields.get("nics", ())),
        tuple(fields.get("near_nics", ())),
    )
