"""What a step would do on a machine, without Slurm. Pure: topology and request in, plan out.

The claim is the plugin's own (`numa_align.placement.claim`). Modelled here is only what Slurm decides before
it: which CPUs it gives a task, and which GPUs it shows to it. docs/claim.md tells how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ..cpulist import format_cpulist, parse_cpulist
from ..errors import ClaimError, RequestError
from ..sysfs import Tree
from ..topology.model import Gpu, Topology
from ..topology.select import select
from .claim import MAX_TASKS, Machine, Placement, Sight, Spec, Step, Task, choose_gpus

JSON_VERSION = 1

#: What each task sees. ``all``: every GPU of the step; ``each``: its own, by number; ``closest``:
#: those on whose node it has a CPU.
VISIBLE = ("all", "each", "closest")

_LIVE = Tree("/")


#: What a bare ``--numa-align`` asks for.
ON = Spec(on=True)


@dataclass(frozen=True)
class Request:
    """A step on one node: ``gpus`` are positions in the topology's GPUs, ``cpus`` Linux numbers."""

    tasks: int
    gpus: tuple[int, ...]
    cpus: tuple[int, ...]
    visible: str = "all"
    spec: Spec = ON


@dataclass(frozen=True)
class Plan:
    """A placement for each task, in their order."""

    request: Request
    placements: tuple[Placement, ...]


def make_plan(topology: Topology, request: Request) -> Plan:
    """What each task of the step gets.

    Raises ClaimError for what cannot be a step, TableError for a machine that no table can hold.
    """
    if not 1 <= request.tasks <= MAX_TASKS:
        raise ClaimError(f"a step has 1 to {MAX_TASKS} tasks on a node, not {request.tasks}")
    if not request.cpus:
        raise ClaimError("a step has at least one CPU")
    machine = Machine.of(topology)
    spec = request.spec if request.spec.on else replace(request.spec, mem="none", cpus="all")
    step = Step(
        cpus=request.cpus,
        memory_nodes=tuple(node.id for node in topology.nodes),
        tasks=request.tasks,
        gpus=request.gpus,
        spec=spec,
    )
    masks = machine.divide(request.cpus, request.tasks)
    tasks = [
        Task(number, _visible(topology, request, number, mask), mask) for number, mask in enumerate(masks)
    ]
    step = replace(step, sights=tuple(Sight(task.visible, len(task.mask)) for task in tasks))
    placements = [machine.place(step, task) for task in tasks]
    return Plan(request, tuple(placements))


def _visible(topology: Topology, request: Request, task: int, mask: Sequence[int]) -> tuple[int, ...]:
    """The GPUs that Slurm shows to a task."""
    count = len(request.gpus)
    if not count or request.visible == "all":
        return request.gpus
    if request.visible == "each":
        if request.tasks > count:
            return (request.gpus[task * count // request.tasks],)
        own = choose_gpus(task, request.tasks, count)
        return request.gpus[own.first : own.first + own.count]
    near = tuple(gpu for gpu in request.gpus if _is_near(topology.gpus[gpu], mask))
    # Slurm then "binds to the first device of the allocation" (gres.c, _get_closest_usable_gres).
    return near or request.gpus[:1]


def _is_near(gpu: Gpu, mask: Sequence[int]) -> bool:
    # Slurm takes a GPU whose cores it does not know for near to everything.
    return gpu.node is None or not set(gpu.cpus).isdisjoint(mask)


def to_json(topology: Topology, plan: Plan) -> dict[str, object]:
    """The plan in the schema of docs/claim.md."""
    return {
        "version": JSON_VERSION,
        "tasks": [_task_fields(topology, task, placed) for task, placed in enumerate(plan.placements)],
    }


def _task_fields(topology: Topology, task: int, placement: Placement) -> dict[str, object]:
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
