"""What a step would do on a machine, without Slurm. Pure: topology and request in, plan out.

The claim is the plugin's own (`numa_align.placement.claim`). Modelled here is only what Slurm decides before
it: which CPUs it gives a task, and which GPUs it shows to it. docs/claim.md tells how.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ..cpulist import format_cpulist, parse_cpulist
from ..errors import ClaimError
from ..topology.model import Gpu, Topology
from .claim import MAX_TASKS, Machine, Placement, Spec, Step, Task, choose_gpus

JSON_VERSION = 1

#: What each task sees. ``all``: every GPU of the step; ``each``: its own, by number; ``closest``:
#: those on whose node it has a CPU.
VISIBLE = ("all", "each", "closest")

_BDF = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])")


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
    turns: dict[Optional[int], int] = {}
    placements = []
    for number, mask in enumerate(masks):
        task = Task(number, _visible(topology, request, number, mask), mask)
        if 0 < len(task.visible) < len(request.gpus):
            counted = machine.turn_gpu(step, task)
            task = replace(task, turn=turns.get(counted, 0))
            turns[counted] = turns.get(counted, 0) + 1
        placements.append(machine.place(step, task))
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
    return near or request.gpus


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


def select_gpus(topology: Topology, text: Optional[str]) -> tuple[int, ...]:
    """Positions of the GPUs of a list, ascending; None: all.

    A GPU is named by Slurm's index (by its position in the order of addresses where no index is
    known), a range of those, PCI address, or UUID or the beginning of one. Raises ClaimError.
    """
    if text is None:
        return tuple(range(len(topology.gpus)))
    chosen: set[int] = set()
    for name in text.replace(",", " ").split():
        chosen.update(_find_gpus(topology.gpus, name))
    if not chosen:
        raise ClaimError("--gpus: the list is empty; --no-gpus plans a step without GPUs")
    return tuple(sorted(chosen))


def _find_gpus(gpus: Sequence[Gpu], name: str) -> list[int]:
    if re.fullmatch(r"[0-9]{1,4}(-[0-9]{1,4})?", name):
        first, _, last = name.partition("-")
        wanted = range(int(first), int(last or first) + 1)
        found = [_by_number(gpus, number) for number in wanted]
    else:
        address, lower = _address(name), name.lower()
        found = [
            position
            for position, gpu in enumerate(gpus)
            if gpu.bdf == address or (len(name) > 4 and gpu.uuid and gpu.uuid.lower().startswith(lower))
        ]
        if len(found) > 1 and address is None:
            raise ClaimError(f"--gpus: {len(found)} GPUs have a UUID that begins with {name!r}")
    if not found or None in found:
        raise ClaimError(f"--gpus: there is no GPU {name[:60]!r}; {_existing(gpus)}")
    return [position for position in found if position is not None]


def _by_number(gpus: Sequence[Gpu], number: int) -> Optional[int]:
    if any(gpu.index is not None for gpu in gpus):
        return next((position for position, gpu in enumerate(gpus) if gpu.index == number), None)
    return number if number < len(gpus) else None


def number_of(gpus: Sequence[Gpu], position: int) -> int:
    """How a person names a GPU: Slurm's index, or the position where Slurm's is not known."""
    index = gpus[position].index
    return position if index is None else index


def _address(name: str) -> Optional[str]:
    """The PCI address as sysfs writes it: NVML has a domain of eight digits, people leave it out."""
    match = _BDF.fullmatch(name.lower())
    if match is None:
        return None
    domain, bus, device, function = match.groups()
    return f"{int(domain or '0', 16):04x}:{int(bus, 16):02x}:{int(device, 16):02x}.{function}"


def _existing(gpus: Sequence[Gpu]) -> str:
    if not gpus:
        return "this machine has none"
    names = (
        f"{position if gpu.index is None else gpu.index} ({gpu.bdf})" for position, gpu in enumerate(gpus)
    )
    return "there are " + ", ".join(names)
