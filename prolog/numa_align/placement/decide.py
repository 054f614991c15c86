"""What `numa-align run`, the task prolog and the Python call decide: CPUs and memory of this process.

Pure: topology, environment and the kernel's word in, a decision out. The claim is the plugin's own
(`numa_align.placement.claim`); what is added here is only which step this process is a task of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ..cpulist import format_cpulist, parse_cpulist
from ..errors import RequestError
from ..slurm_env import place_of, to_number
from ..topology.model import Gpu, Topology
from .claim import Machine, Placement, Spec, Step, Task, choose_gpus
from .launcher import Share, Worker, bound_by_hand, read_map, step_cpus, worker_of
from .own import Own
from .visible import may_open, visible_gpus

#: The variables that a placed process finds (docs/users.md).
VARIABLES = ("NUMA_ALIGN_STATE", "NUMA_ALIGN_GPUS", "NUMA_ALIGN_CPUS", "NUMA_ALIGN_MEMS", "NUMA_ALIGN_MAP")


@dataclass(frozen=True)
class Request:
    """What the user said: ``gpus`` are positions in the topology's GPUs, None: those of the process."""

    spec: Spec
    gpus: Optional[tuple[int, ...]] = None
    local_rank: Optional[int] = None
    local_world_size: Optional[int] = None


@dataclass(frozen=True)
class Decision:
    """A placement, and the variables that say so; ``variables`` of None are to be taken away."""

    placement: Placement
    variables: Mapping[str, Optional[str]]
    worker: Optional[Worker] = None


@dataclass(frozen=True)
class _Context:
    """What every way to a placement needs."""

    topology: Topology
    machine: Machine
    own: Own
    environment: Mapping[str, str]
    spec: Spec

    def positions(self, gpus: Sequence[Gpu]) -> tuple[int, ...]:
        order = {gpu.bdf: position for position, gpu in enumerate(self.topology.gpus)}
        return tuple(order[gpu.bdf] for gpu in gpus)

    def memory_nodes(self) -> tuple[int, ...]:
        return self.own.memory_nodes or tuple(node.id for node in self.topology.nodes)


def decide(
    topology: Topology,
    own: Own,
    environment: Mapping[str, str],
    request: Request,
    openable: Callable[[str], bool] = may_open,
) -> Decision:
    """Where this process belongs. Raises RequestError for GPUs or ranks that it cannot have."""
    context = _Context(topology, Machine.of(topology), own, environment, request.spec)
    gpus = request.gpus
    seen = visible_gpus(topology.gpus, environment, openable) if gpus is None else ()
    visible = context.positions(seen) if gpus is None else gpus
    worker = worker_of(environment, request.local_rank, request.local_world_size, len(visible))
    if worker is not None:
        step, task = _as_worker(context, visible, worker)
    elif gpus is not None or _is_placed(context, visible) or place_of(environment).tasks == 1:
        step, task = _alone(context, own.cpus, visible)
    else:
        step, task = _as_task(context, visible)
    placement = context.machine.place(step, task)
    return Decision(placement, variables_of(context.machine, topology, step, placement), worker)


def _alone(context: _Context, cpus: tuple[int, ...], gpus: tuple[int, ...]) -> tuple[Step, Task]:
    """The only task of a step that has these CPUs and GPUs."""
    by_hand = bound_by_hand(context.environment)
    step = Step(cpus, context.memory_nodes(), 1, gpus, context.spec)
    return step, Task(0, gpus, context.own.cpus, None, *by_hand)


def _as_task(context: _Context, visible: tuple[int, ...]) -> tuple[Step, Task]:
    """A task of a step that Slurm placed without the plugin; all tasks are taken to run this program."""
    environment, own = context.environment, context.own
    place, by_hand = place_of(environment), bound_by_hand(context.environment)
    cpus = step_cpus(environment, own.cpus, own.widest, context.topology.online)
    count = to_number(environment.get("SLURM_GPUS_ON_NODE")) or len(visible)
    if visible and len(visible) < count:
        # Slurm showed each task other GPUs, and a task cannot learn which those of the others are. Its
        # own CPUs if any is near; else those of its nodes, which it may have to share.
        near = {cpu for gpu in visible for cpu in context.topology.gpus[gpu].cpus}
        if near.isdisjoint(own.cpus):
            spec = replace(context.spec, cpus="node" if context.spec.cpus == "slice" else context.spec.cpus)
            step = Step(cpus, context.memory_nodes(), 1, visible, spec)
            return step, Task(0, visible, own.cpus, None, *by_hand)
        return _alone(context, own.cpus, visible)
    step = Step(cpus, context.memory_nodes(), place.tasks, visible, context.spec)
    return step, Task(place.id, visible, own.cpus, None, *by_hand)


def _is_placed(context: _Context, visible: tuple[int, ...]) -> bool:
    """Whether the variables are about this very process: an aligned batch script hands them on to others."""
    environment = context.environment
    try:
        cpus = parse_cpulist(environment.get("NUMA_ALIGN_CPUS", ""))
    except ValueError:
        return False
    named = environment.get("NUMA_ALIGN_GPUS", "").split(",")
    known = {context.topology.gpus[gpu].bdf for gpu in visible}
    return bool(cpus) and set(cpus) == set(context.own.cpus) and (not known or known >= set(named) - {""})


def _task_gpus(context: _Context, visible: tuple[int, ...]) -> tuple[int, ...]:
    """The GPUs of the task that the launcher runs in, in the order in which its workers count them."""
    named = context.environment.get("NUMA_ALIGN_GPUS", "").split(",")
    own = tuple(p for p, gpu in enumerate(context.topology.gpus) if gpu.bdf in named)
    if own and _placed_around(context):
        # A launcher that shows each worker one GPU leaves the others of the task in this list.
        return tuple(p for p in visible if p in own) if set(visible) >= set(own) else own
    place = place_of(context.environment)
    if place.tasks == 1:
        return visible
    chosen = choose_gpus(place.id, place.tasks, len(visible))
    return visible[chosen.first : chosen.first + chosen.count]


def _placed_around(context: _Context) -> bool:
    """Whether the task was placed: its workers are then somewhere inside NUMA_ALIGN_CPUS."""
    try:
        cpus = parse_cpulist(context.environment.get("NUMA_ALIGN_CPUS", ""))
    except ValueError:
        return False
    return bool(cpus) and set(context.own.cpus) <= set(cpus)


def _as_worker(context: _Context, visible: tuple[int, ...], worker: Worker) -> tuple[Step, Task]:
    """A worker's part of the task's own set."""
    gpus, mask = _task_gpus(context, visible), context.own.cpus
    step = Step(mask, context.memory_nodes(), worker.count, gpus, context.spec)
    if not gpus:
        return step, Task(worker.rank, (), mask)
    shown = tuple(gpu for gpu in visible if gpu in gpus)
    if 0 < len(shown) < len(gpus):
        # The launcher shows each worker its own GPU; equal ones are taken to go round.
        return step, Task(worker.rank, shown, mask, worker.rank // len(gpus))
    if 1 < worker.count < len(gpus):
        # Programs open GPU number LOCAL_RANK: the last ones, for which the map has slices, are nobody's.
        used = gpus[: worker.count]
        return replace(step, gpus=used), Task(worker.rank, used, mask)
    choice = choose_gpus(worker.rank, worker.count, len(gpus))
    mine = gpus[choice.first : choice.first + choice.count]
    cpus = _mapped(context, mine) if context.spec.cpus == "slice" else ()
    if not cpus:
        return step, Task(worker.rank, gpus, mask)
    part = Step(cpus, context.memory_nodes(), choice.sharers, mine, context.spec)
    return part, Task(choice.share, mine, mask)


def _mapped(context: _Context, gpus: Sequence[int]) -> tuple[int, ...]:
    """The CPUs that NUMA_ALIGN_MAP gives these GPUs, () where it does not hold for them."""
    by_bdf: dict[str, Share] = {s.bdf: s for s in read_map(context.environment.get("NUMA_ALIGN_MAP", ""))}
    shares = [by_bdf.get(context.topology.gpus[gpu].bdf) for gpu in gpus]
    cpus = {cpu for share in shares if share for cpu in share.cpus}
    return tuple(sorted(cpus)) if None not in shares and cpus <= set(context.own.cpus) else ()


def variables_of(
    machine: Machine, topology: Topology, step: Step, placement: Placement
) -> dict[str, Optional[str]]:
    """What the plugin would put into the environment (spank/report.c)."""
    slices = None
    if len(placement.gpus) > 1:
        entries = []
        for gpu in placement.gpus:
            cpus, nodes = machine.slice(step, gpu)
            inside = sorted(set(cpus) & set(placement.cpus))
            entries.append(f"{topology.gpus[gpu].bdf}={format_cpulist(inside)}@{format_cpulist(nodes)}")
        slices = ";".join(entries)
    return {
        "NUMA_ALIGN_STATE": placement.state,
        "NUMA_ALIGN_GPUS": ",".join(topology.gpus[gpu].bdf for gpu in placement.gpus),
        "NUMA_ALIGN_CPUS": format_cpulist(placement.cpus),
        "NUMA_ALIGN_MEMS": format_cpulist(placement.memory_nodes),
        "NUMA_ALIGN_MAP": slices,
    }


def refuse_foreign(topology: Topology, gpus: Sequence[int], openable: Callable[[str], bool]) -> None:
    """Raises RequestError for a GPU whose device file is there and may not be opened."""
    for position in gpus:
        gpu = topology.gpus[position]
        if gpu.device and not openable(gpu.device):
            raise RequestError(
                f"GPU {gpu.bdf} is not this process's to use: {gpu.device} may not be opened; "
                "it belongs to another job, or to another container"
            )


def line_of(decision: Decision, topology: Topology, state: Optional[str] = None) -> str:
    """One line for a person, as the plugin's verbose says it; ``state`` where the kernel refused."""
    placed = decision.placement
    gpus = ",".join(topology.gpus[gpu].bdf for gpu in placed.gpus) or "-"
    who = f"worker {decision.worker.rank}: " if decision.worker else ""
    return (
        f"{who}{state or placed.state} gpus={gpus} cpus={format_cpulist(placed.cpus) or '-'} "
        f"mems={format_cpulist(placed.memory_nodes) or '-'} policy={placed.policy}"
    )


def warning_of(decision: Decision) -> Optional[str]:
    """Why the process is not aligned and what to request instead, None if it is aligned."""
    placed = decision.placement
    if placed.state == "aligned":
        return None
    who = f"worker {decision.worker.rank} is " if decision.worker else ""
    return f"{who}{placed.state}: " + "; ".join(text for text in (placed.reason, placed.advice) if text)
