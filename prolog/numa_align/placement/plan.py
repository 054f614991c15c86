"""What a step would do on a machine, without Slurm. Pure: takes topology and request, returns a plan.

The claim is the plugin's own (`numa_align.placement.claim`). This module only models what Slurm decides
before it: which CPUs it gives a task, and which GPUs it shows to it. docs/claim.md describes the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional, TypedDict

from ..cpulist import format_cpulist, parse_cpulist
from ..errors import ClaimError, RequestError
from ..names import PolicyMode, State, Visible
from ..sysfs import Tree
from ..topology.model import Gpu, Topology
from ..topology.select import select
from .claim import MAX_TASKS, ClaimMachine, Placement, Sight, Spec, Step, Task
from .shown import Release, shown_closest, shown_each

JSON_VERSION = 1

_LIVE = Tree("/")


#: What a bare ``--numa-align`` asks for.
ON = Spec(on=True)


@dataclass(frozen=True)
class Request:
    """A step on one node: ``gpus`` are positions in the topology's GPUs, ``cpus`` Linux numbers.

    ``slurm``: the release whose rules apply; None: the newest.
    """

    tasks: int
    gpus: tuple[int, ...]
    cpus: tuple[int, ...]
    visible: Visible = "all"
    spec: Spec = ON
    slurm: Optional[Release] = None


@dataclass(frozen=True)
class Plan:
    """The placements of the tasks, in their order."""

    request: Request
    placements: tuple[Placement, ...]


def make_plan(topology: Topology, request: Request) -> Plan:
    """What each task of the step gets.

    Raises ClaimError for an impossible step, TableError for a machine that no table can hold.
    """
    if not 1 <= request.tasks <= MAX_TASKS:
        raise ClaimError(f"a step has 1 to {MAX_TASKS} tasks on a node, not {request.tasks}")
    if not request.cpus:
        raise ClaimError("a step has at least one CPU")
    machine = ClaimMachine.of(topology)
    spec = request.spec if request.spec.on else replace(request.spec, mem="none", cpus="all")
    step = Step(
        cpus=request.cpus,
        memory_nodes=tuple(node.id for node in topology.nodes),
        tasks=request.tasks,
        gpus=request.gpus,
        spec=spec,
    )
    masks = machine.divide(request.cpus, request.tasks)
    visible = _visible(topology, request, masks)
    tasks = [Task(number, seen, mask) for number, (seen, mask) in enumerate(zip(visible, masks))]
    step = replace(step, sights=tuple(Sight(task.visible, len(task.mask)) for task in tasks))
    placements = [machine.place(step, task) for task in tasks]
    return Plan(request, tuple(placements))


def nics_of(topology: Topology, gpus: Sequence[int]) -> tuple[str, ...]:
    """The network cards of a task that has these GPUs to itself."""
    if not topology.nics:
        return ()
    nodes = tuple(node.id for node in topology.nodes)
    step = Step(topology.online, nodes, 1, tuple(gpus), ON)
    return ClaimMachine.of(topology).place(step, Task(0, tuple(gpus), topology.online)).nics


def _visible(topology: Topology, request: Request, masks: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The GPUs that Slurm shows to each task, given the CPUs of the tasks."""
    if not request.gpus or request.visible == "all":
        return [request.gpus] * len(masks)
    order = sorted(request.gpus, key=lambda gpu: _index(topology.gpus[gpu], gpu))
    gpus = [topology.gpus[gpu] for gpu in order]
    if request.visible == "each":
        shown = shown_each(gpus, masks, request.slurm)
    else:
        shown = shown_closest(gpus, masks)
    return [tuple(sorted(order[number] for number in numbers)) for numbers in shown]


def _index(gpu: Gpu, position: int) -> int:
    """The key by which Slurm orders GPUs: its own index."""
    return position if gpu.index is None else gpu.index


def select_release(text: Optional[str]) -> Optional[Release]:
    """Slurm's release as in "24.11"; None: the newest. Raises RequestError."""
    if text is None:
        return None
    words = text.split(".")
    if len(words) < 2 or not all(word.isascii() and word.isdigit() for word in words[:2]):
        raise RequestError(f"--slurm-version: {text!r} is not a Slurm release such as 24.11")
    return int(words[0]), int(words[1])


class PlannedTaskFields(TypedDict):
    """A task in the JSON of a plan; docs/claim.md describes the fields."""

    task: int
    gpus: list[str]
    cpus: str
    memory_nodes: list[int]
    policy: PolicyMode
    state: State
    reason: Optional[str]
    advice: Optional[str]
    cpus_on_own_nodes: int
    cpus_beside: int
    note: Optional[str]
    nics: list[str]


class PlanFields(TypedDict):
    """What ``plan --json`` prints."""

    version: int
    tasks: list[PlannedTaskFields]


def to_json(topology: Topology, plan: Plan) -> PlanFields:
    """The plan in the schema of docs/claim.md."""
    return {
        "version": JSON_VERSION,
        "tasks": [_task_fields(topology, task, placed) for task, placed in enumerate(plan.placements)],
    }


def _task_fields(topology: Topology, task: int, placement: Placement) -> PlannedTaskFields:
    return {
        "task": task,
        "gpus": [topology.gpus[gpu].bdf for gpu in placement.gpus],
        "cpus": format_cpulist(placement.cpus),
        "memory_nodes": list(placement.memory_nodes),
        "policy": placement.policy,
        "state": placement.state,
        "reason": placement.reason,
        "advice": placement.advice,
        "cpus_on_own_nodes": placement.own,
        "cpus_beside": placement.beside,
        "note": placement.note,
        "nics": list(placement.nics),
    }


# -- What a person writes --------------------------------------------------------------------


def select_cpus(topology: Topology, text: Optional[str]) -> tuple[int, ...]:
    """The CPUs of a list ("0-3,8"); None: all that are online. Raises ClaimError."""
    if text is None:
        return topology.online
    try:
        cpus = parse_cpulist(text)
    except ValueError as error:
        raise ClaimError(f"--cpus: {error}") from error
    missing = sorted(set(cpus) - set(topology.online))
    if missing:
        raise ClaimError(
            f"--cpus: no CPU {format_cpulist(missing)} is online; {format_cpulist(topology.online)} are"
        )
    if not cpus:
        raise ClaimError("--cpus: the list is empty; a step has at least one CPU")
    return cpus


def select_gpus(topology: Topology, text: Optional[str], tree: Tree = _LIVE) -> tuple[int, ...]:
    """Positions of the GPUs that ``--gpus`` names on the machine of ``tree``, ascending; None: all.

    Raises RequestError, see `numa_align.topology.select`.
    """
    if text is None:
        return tuple(range(len(topology.gpus)))
    try:
        return select(text, topology.gpus, tree)
    except RequestError as error:
        raise RequestError(f"--gpus: {error}") from error
