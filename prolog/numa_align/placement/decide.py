"""What `numa-align run`, the task prolog and the Python call decide: CPUs and memory of this process.

Pure: topology, environment and what the kernel reports go in, a decision comes out. The claim is the
plugin's own (`numa_align.placement.claim`); this module only finds out of which step this process is a task.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

from ..cpulist import format_cpulist, parse_cpulist
from ..errors import RequestError
from ..names import CPUS, GPUS, MAP, VARIABLES, WORKER, State
from ..slurm_env import place_of, to_number
from ..topology.model import Gpu, Topology
from ..topology.select import listed_by_slurm
from .claim import ClaimMachine, Placement, Sight, Spec, Step, Task, choose_gpus, local_cpus
from .launcher import (
    Share,
    Worker,
    bound_by_launcher,
    bound_explicitly,
    number,
    read_map,
    step_cpus,
    wants_local_memory,
)
from .own import Own
from .visible import hidden_by_variable, may_open, unknown_list, usable_nics, visible_gpus


@dataclass(frozen=True)
class ProcessRequest:
    """What the user asked for: ``gpus`` are positions in the topology's GPUs, None: those of the process.

    ``insists``: the words of ``spec`` were given here, and override what an earlier placement chose.
    """

    spec: Spec
    gpus: Optional[tuple[int, ...]] = None
    local_rank: Optional[int] = None
    local_world_size: Optional[int] = None
    insists: bool = False


@dataclass(frozen=True)
class Decision:
    """A placement, and the variables that describe it; a variable whose value is None is to be removed.

    ``kept``: the process was placed before and stays as it is. ``doubts`` are sentences about what could not
    be determined; ``cure`` is advice that replaces the claim's own. ``libraries`` are the variables by
    which libraries use its network cards, with the word ``nic``.
    """

    placement: Placement
    variables: Mapping[str, Optional[str]]
    worker: Optional[Worker] = None
    kept: bool = False
    doubts: tuple[str, ...] = ()
    cure: Optional[str] = None
    libraries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Context:
    """The input that every way to a placement needs."""

    topology: Topology
    machine: ClaimMachine
    own: Own
    environment: Mapping[str, str]
    spec: Spec
    openable: Callable[[str], bool]

    def positions(self, gpus: Sequence[Gpu]) -> tuple[int, ...]:
        order = {gpu.bdf: position for position, gpu in enumerate(self.topology.gpus)}
        return tuple(order[gpu.bdf] for gpu in gpus)

    def memory_nodes(self) -> tuple[int, ...]:
        return self.own.memory_nodes or tuple(node.id for node in self.topology.nodes)

    def place(self, step: Step, task: Task) -> Placement:
        """What a task of a step gets, with the cards that this process may use."""
        nics = usable_nics(self.topology, self.environment, self.openable)
        return self.machine.place(replace(step, nics=nics), task)

    def told_cpus(self) -> frozenset[int]:
        """NUMA_ALIGN_CPUS: where the task, or this process itself, was placed."""
        try:
            return frozenset(parse_cpulist(self.environment.get(CPUS, "")))
        except ValueError:
            return frozenset()

    def told_gpus(self) -> tuple[int, ...]:
        """NUMA_ALIGN_GPUS, without those that this machine does not have."""
        named = self.environment.get(GPUS, "").split(",")
        return tuple(position for position, gpu in enumerate(self.topology.gpus) if gpu.bdf in named)

    def is_inside(self) -> bool:
        """Whether this process is inside a placed task, at any depth."""
        return bool(self.told_cpus()) and self.told_cpus() >= set(self.own.cpus)


def decide(
    topology: Topology,
    own: Own,
    environment: Mapping[str, str],
    request: ProcessRequest,
    openable: Callable[[str], bool] = may_open,
) -> Decision:
    """Where this process belongs. Raises RequestError for GPUs or ranks that it cannot have."""
    spec = request.spec
    if spec.mem == "preferred" and wants_local_memory(environment):
        spec = replace(spec, mem="bind")  # as Slurm does it, at the new place
    context = _Context(topology, ClaimMachine.of(topology), own, environment, spec, openable)
    named = request.gpus
    visible = (
        context.positions(visible_gpus(topology.gpus, environment, openable)) if named is None else named
    )
    whole = _task_gpus(context, visible) if named is None else named
    if named is None and hidden_by_variable(topology.gpus, environment):
        whole = ()
    count = len(visible) if len(visible) > 1 else len(whole)
    numbering = number(environment, request.local_rank, request.local_world_size, count)
    worker = numbering.worker
    if named is None and _is_placed(context, worker, visible):
        return _keep(context, request, worker)
    cure = None if worker is None else _bound(context, worker)
    if worker is not None and cure:
        return _inside_its_mask(context, visible, whole, worker, cure)
    step, task = _step_of(context, named, visible, whole, worker)
    placement = context.place(step, task)
    blind = None if environment.get("SLURM_JOB_ID") else _blind(placement, topology)
    unknown = _unknown(context, visible) if named is None else None
    sibling = None if worker is None else _placed_as_a_sibling(context, worker)
    doubts = tuple(text for text in (numbering.doubt, blind, unknown, sibling) if text)
    libraries = context.machine.libraries(placement) if spec.nic else {}
    variables = _variables(context, step, placement, worker)
    crowded = None if worker is None else _crowded(context, worker)
    return Decision(placement, variables, worker, doubts=doubts, cure=crowded, libraries=libraries)


def _step_of(
    context: _Context,
    named: Optional[tuple[int, ...]],
    visible: tuple[int, ...],
    whole: tuple[int, ...],
    worker: Optional[Worker],
) -> tuple[Step, Task]:
    """The step of which this is a task: a launcher's, one that it sees in part, its own, or Slurm's."""
    if worker is not None:
        return _as_worker(context, visible, whole, worker)
    if named is None and _sees_a_part(context, visible, whole):
        return _by_what_it_sees(context, visible, whole)
    if named is not None or place_of(context.environment).tasks == 1:
        return _alone(context, context.own.cpus, visible)
    return _as_task(context, visible)


def _blind(placement: Placement, topology: Topology) -> Optional[str]:
    """A doubt if the machine has GPUs and the process sees none: a container without them, or a lost driver.

    In an allocation it may simply be a step without GPUs.
    """
    return None if placement.gpus or not topology.gpus else _no_gpu(topology)


def _unknown(context: _Context, visible: tuple[int, ...]) -> Optional[str]:
    """The message for a list that names no known GPU: the program sees none, or an unknown one."""
    said = unknown_list(context.topology.gpus, context.environment, context.openable)
    if said is None:
        return None
    return (
        f"{said}, which names no GPU that this process can open and that is known here: bound as if "
        f"all {len(visible)} were meant; --gpus names those that are"
    )


def _no_gpu(topology: Topology) -> str:
    if not topology.gpus:
        return (
            "no GPU is visible, and none was found on this machine: is the driver loaded, and was a "
            "container started with GPUs?"
        )
    return (
        f"no GPU is visible to this process, of {len(topology.gpus)} on this machine: were any requested, "
        "and can it open their device files?"
    )


# -- Who was placed before -------------------------------------------------------------------


def _is_placed(context: _Context, worker: Optional[Worker], visible: tuple[int, ...]) -> bool:
    """Whether this process, or the one that it descends from, was placed before in its present role.

    A program that ``run`` starts may also call bind_local_rank(), and so does each child that runs
    the program's top level again (spawn, forkserver).
    """
    if not context.told_cpus() or context.told_cpus() != set(context.own.cpus):
        return False
    if worker is not None:
        return worker.is_again(Worker.read(context.environment.get(WORKER, "")))
    # The launcher gives each worker one GPU: what was placed is the task around the workers.
    return not visible or set(visible) >= set(context.told_gpus())


def _placed_as_a_sibling(context: _Context, worker: Worker) -> Optional[str]:
    """The message for a worker that runs inside the part of another worker of the same launcher."""
    before = Worker.read(context.environment.get(WORKER, ""))
    if before is None or not worker.source or not context.is_inside():
        return None
    if (before.source, before.count) != (worker.source, worker.count) or before.rank == worker.rank:
        return None
    return (
        f"this process was placed as worker {before.rank} of {before.count} and is now worker {worker.rank}: "
        f"it has only a part of what worker {before.rank} has; place each worker once, from outside"
    )


def _keep(context: _Context, request: ProcessRequest, worker: Optional[Worker]) -> Decision:
    """Keep what the process has: its CPUs stay, unless words given now choose among them."""
    context = context if request.insists else replace(context, spec=replace(context.spec, cpus="all"))
    gpus = context.told_gpus()
    step, task = _alone(context, context.own.cpus, gpus)
    placement = context.place(step, task)
    if request.insists:
        variables = _variables(context, step, placement, worker)
    else:
        variables = {name: context.environment.get(name) for name in VARIABLES}
    return Decision(placement, variables, worker, kept=True)


# -- Without a launcher ----------------------------------------------------------------------


def _alone(context: _Context, cpus: tuple[int, ...], gpus: tuple[int, ...]) -> tuple[Step, Task]:
    """The only task of a step that has these CPUs and GPUs."""
    explicit = bound_explicitly(context.environment)
    step = Step(cpus, context.memory_nodes(), 1, gpus, context.spec)
    return step, Task(0, gpus, context.own.cpus, *explicit)


def _as_task(context: _Context, visible: tuple[int, ...]) -> tuple[Step, Task]:
    """A task of a step that Slurm placed without the plugin; all tasks are assumed to run this program."""
    environment, own = context.environment, context.own
    place, explicit = place_of(environment), bound_explicitly(context.environment)
    cpus = step_cpus(environment, own.cpus, own.widest, context.topology.online)
    count = to_number(environment.get("SLURM_GPUS_ON_NODE")) or len(visible)
    if visible and len(visible) < count:
        # Slurm showed each task different GPUs, and a task cannot learn which GPUs the others have. It gets
        # its own CPUs if any is near, else those of its nodes, which it may have to share.
        local = local_cpus(context.topology, [context.topology.gpus[gpu] for gpu in visible])
        if local.isdisjoint(own.cpus):
            spec = replace(context.spec, cpus="node" if context.spec.cpus == "slice" else context.spec.cpus)
            step = Step(cpus, context.memory_nodes(), 1, visible, spec)
            return step, Task(0, visible, own.cpus, *explicit)
        return _alone(context, own.cpus, visible)
    step = Step(cpus, context.memory_nodes(), place.tasks, visible, context.spec)
    return step, Task(place.id, visible, own.cpus, *explicit)


def _sees_a_part(context: _Context, visible: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether others of the same task, or machine, use the GPUs that this process does not see.

    Ray shows each actor the GPUs that it asked for; wrapper scripts do the same.
    """
    if context.is_inside():
        # With other CPUs than the task's own, this is a step inside an aligned batch script.
        shared = context.told_cpus() == set(context.own.cpus)
    else:
        shared = place_of(context.environment).tasks == 1
    return shared and 0 < len(visible) < len(whole)


def _by_what_it_sees(
    context: _Context, visible: tuple[int, ...], whole: tuple[int, ...]
) -> tuple[Step, Task]:
    """The shares of the GPUs that it sees: from the task's map, else of all CPUs that it has."""
    explicit = bound_explicitly(context.environment)
    cpus = _mapped(context, visible)
    if cpus:
        step = Step(cpus, context.memory_nodes(), 1, visible, context.spec)
        return step, Task(0, visible, context.own.cpus, *explicit)
    step = Step(context.own.cpus, context.memory_nodes(), 1, whole, context.spec)
    return step, Task(0, visible, context.own.cpus, *explicit)


# -- Workers of a launcher -------------------------------------------------------------------


def _task_gpus(context: _Context, visible: tuple[int, ...]) -> tuple[int, ...]:
    """All GPUs of this process and its siblings, in the order in which they count them."""
    given = _given(context)
    own = tuple(p for p in context.told_gpus() if p in given or not given)
    if own and context.is_inside():
        # If a launcher shows each worker one GPU, this list has the other GPUs of the task.
        return tuple(p for p in visible if p in own) if set(visible) >= set(own) else own
    place = place_of(context.environment)
    if place.tasks > 1:
        chosen = choose_gpus(place.id, place.tasks, len(visible))
        return visible[chosen.first : chosen.first + chosen.count]
    everything = given or visible
    return everything if set(everything) > set(visible) else visible


def _given(context: _Context) -> tuple[int, ...]:
    """The GPUs of the job or the machine, whatever this process was shown; () if unknown."""
    gpus, environment = context.topology.gpus, context.environment
    reachable = visible_gpus(gpus, {}, context.openable)
    if not environment.get("SLURM_JOB_ID"):
        return context.positions(reachable)
    named = environment.get("SLURM_STEP_GPUS") or environment.get("SLURM_JOB_GPUS") or ""
    listed = listed_by_slurm(named, reachable) if named else ()
    if listed:
        return context.positions(listed)
    # Slurm confines devices: those that can be opened are the job's. Otherwise others' GPUs are among them.
    return context.positions(reachable) if len(reachable) < len(gpus) else ()


def _bound(context: _Context, worker: Worker) -> Optional[str]:
    own, environment = context.own, context.environment
    reach: Sequence[int] = own.widest
    if environment.get("SLURM_JOB_ID"):
        reach = step_cpus(environment, own.cpus, own.widest, context.topology.online)
    told = context.told_cpus()
    return bound_by_launcher(environment, worker, own.cpus, tuple(told) if context.is_inside() else reach)


def _inside_its_mask(
    context: _Context, visible: tuple[int, ...], whole: tuple[int, ...], worker: Worker, cure: str
) -> Decision:
    """A worker that mpirun has bound: its mask already is its part, wherever that is."""
    shown = _shown(context, visible, whole, worker)
    if shown:
        mine = shown
    else:
        whole = visible or whole
        choice = choose_gpus(worker.rank, worker.count, len(whole))
        mine = whole[choice.first : choice.first + choice.count]
    step, task = _alone(context, context.own.cpus, mine)
    placement = context.place(step, task)
    cpus = format_cpulist(context.own.cpus)
    advice = f"mpirun has bound this worker to CPUs {cpus}: {cure}, and it gets the CPUs near its GPU"
    return Decision(placement, _variables(context, step, placement, worker), worker, cure=advice)


def _shown(
    context: _Context, visible: tuple[int, ...], whole: tuple[int, ...], worker: Worker
) -> tuple[int, ...]:
    """The GPUs of this worker if it was shown others than its siblings; () if all see the same.

    A single one of many is the worker's own, and so are several that do not suffice for all workers. Any
    other part is a list for all of them, as torchrun and deepspeed pass it on.
    """
    mine = tuple(gpu for gpu in visible if gpu in whole)
    if _is_turned(context, mine, worker):
        return mine[:1]
    apart = len(mine) == 1 or (worker.count > len(mine) and len(mine) * worker.count == len(whole))
    return mine if apart and 0 < len(mine) < len(whole) else ()


def _is_turned(context: _Context, visible: tuple[int, ...], worker: Worker) -> bool:
    """Whether the list of GPUs is rotated to begin with the worker's own, as dask-cuda does it.

    torchrun's workers all have the same list, in any order, and open number LOCAL_RANK of it. A list of two
    GPUs in reverse order is taken as such a list, unless the caller gave the number.
    """
    start = sorted(visible)
    turned = tuple(start[worker.rank :] + start[: worker.rank])
    return (
        0 < worker.rank < len(visible)
        and visible == turned
        and (len(visible) > 2 or not worker.source)
        and not context.environment.get("TORCHELASTIC_RUN_ID")
    )


def _as_worker(
    context: _Context, visible: tuple[int, ...], whole: tuple[int, ...], worker: Worker
) -> tuple[Step, Task]:
    """A worker's part of the task's own set."""
    mask = context.own.cpus
    step = Step(mask, context.memory_nodes(), worker.count, whole, context.spec)
    if not whole:
        return step, Task(worker.rank, (), mask)
    shown = _shown(context, visible, whole, worker)
    if shown:
        return _as_shown(context, step, worker, shown)
    if 0 < len(visible) < len(whole):
        whole = visible
        step = replace(step, gpus=whole)
    if 1 < worker.count < len(whole):
        # Programs open GPU number LOCAL_RANK: nobody uses the last ones, for which the map has slices.
        used = whole[: worker.count]
        return replace(step, gpus=used), Task(worker.rank, used, mask)
    choice = choose_gpus(worker.rank, worker.count, len(whole))
    mine = whole[choice.first : choice.first + choice.count]
    cpus = _mapped(context, mine)
    if not cpus:
        return step, Task(worker.rank, whole, mask)
    part = Step(cpus, context.memory_nodes(), choice.sharers, mine, context.spec)
    return part, Task(choice.share, mine, mask)


def _crowded(context: _Context, worker: Worker) -> Optional[str]:
    """The message if there are more workers than CPUs, so that some workers share a CPU."""
    cpus = len(context.own.cpus)
    if worker.count <= cpus:
        return None
    return (
        f"there are {worker.count} workers and {cpus} CPU{'s' if cpus > 1 else ''} for them, so some share "
        "one: request more with --cpus-per-task"
    )


def _as_shown(context: _Context, step: Step, worker: Worker, shown: tuple[int, ...]) -> tuple[Step, Task]:
    """A worker that was shown other GPUs than its siblings; with more workers than GPUs, each was shown one.

    GPUs are assumed to be dealt out in turn, starting anywhere: workers r and r + n have the same one of n.
    """
    whole, mask, rank = step.gpus, context.own.cpus, worker.rank
    count = len(whole)
    cpus = _mapped(context, shown)
    if cpus:
        sharers = len(range(rank % count, worker.count, count))
        own = Step(cpus, context.memory_nodes(), sharers, shown, context.spec)
        return own, Task(rank // count, shown, mask)
    if worker.count > count:
        first = whole.index(shown[0]) - rank
        seen = [whole[(first + other) % count] for other in range(worker.count)]
        step = replace(step, sights=tuple(Sight((gpu,), len(mask)) for gpu in seen))
    return step, Task(rank, shown, mask)


def _mapped(context: _Context, gpus: Sequence[int]) -> tuple[int, ...]:
    """The CPUs that NUMA_ALIGN_MAP gives these GPUs, () if it does not apply to them."""
    if context.spec.cpus != "slice":
        return ()
    by_bdf: dict[str, Share] = {s.bdf: s for s in read_map(context.environment.get(MAP, ""))}
    shares = [by_bdf.get(context.topology.gpus[gpu].bdf) for gpu in gpus]
    cpus = {cpu for share in shares if share for cpu in share.cpus}
    return tuple(sorted(cpus)) if None not in shares and cpus <= set(context.own.cpus) else ()


# -- What is said about it -------------------------------------------------------------------


def _variables(
    context: _Context, step: Step, placement: Placement, worker: Optional[Worker]
) -> dict[str, Optional[str]]:
    variables = context.machine.variables(step, placement)
    return {**variables, WORKER: None if worker is None else str(worker)}


def share_of(
    topology: Topology,
    own: Own,
    spec: Spec,
    gpus: Sequence[int],
    whole: Sequence[int],
    *,
    cores: Optional[int] = None,
) -> Decision:
    """What some GPUs get if each of the ``whole`` has a user of its own; ``cores`` of that if not None.

    A share does not depend on who asks first. Cores of nodes without a GPU belong to nobody, as there is no
    step to fill. Raises RequestError if the share has fewer cores.
    """
    local = {cpu for gpu in whole for cpu in topology.gpus[gpu].cpus}
    known = all(topology.gpus[gpu].cpus for gpu in whole)
    cpus = tuple(cpu for cpu in own.cpus if cpu in local) if known else ()
    machine = ClaimMachine.of(topology)
    context = _Context(topology, machine, own, {}, spec, may_open)
    step = Step(cpus or own.cpus, context.memory_nodes(), 1, tuple(whole), spec)
    # A share belongs to the GPU, wherever Slurm is: there are no CPUs that it was given before.
    placement = replace(machine.place(step, Task(0, tuple(gpus), step.cpus)), note=None)
    if cores is not None:
        slices = [cpus for cpus, _ in machine.slices(step, placement)]
        placement = replace(placement, cpus=_some_cores(topology, placement.cpus, slices, cores))
    return Decision(placement, _variables(context, step, placement, None))


def _some_cores(
    topology: Topology, cpus: Sequence[int], slices: Sequence[Sequence[int]], count: int
) -> tuple[int, ...]:
    """The CPUs of ``count`` cores, as many near each GPU: from each slice in turn, its first cores first."""
    here = [tuple(cpu for cpu in core.cpus if cpu in set(cpus)) for core in topology.cores]
    queues = [[core for core in here if core and set(core) <= set(part)] for part in slices]
    queues = queues if any(queues) else [[core for core in here if core]]
    dealt = [core for round_ in itertools.zip_longest(*queues) for core in round_ if core]
    chosen = list(dict.fromkeys([*dealt, *(core for core in here if core)]))
    if count > len(chosen):
        raise RequestError(
            f"{count} cores are more than the {len(chosen)} that these GPUs have to themselves; "
            "--numa-align=cpus=node takes from all cores of their nodes"
        )
    return tuple(sorted(cpu for core in chosen[:count] for cpu in core))


def refuse_foreign(topology: Topology, gpus: Sequence[int], openable: Callable[[str], bool]) -> None:
    """Raises RequestError for a GPU whose device file exists and may not be opened."""
    for position in gpus:
        gpu = topology.gpus[position]
        if gpu.device and not openable(gpu.device):
            raise RequestError(
                f"this process may not use GPU {gpu.bdf}: {gpu.device} may not be opened; "
                "it belongs to another job, or to another container"
            )


def line_of(decision: Decision, topology: Topology, state: Optional[State] = None) -> str:
    """One line for a person, as the plugin's verbose prints it; ``state`` if the kernel refused."""
    placed = decision.placement
    gpus = ",".join(topology.gpus[gpu].bdf for gpu in placed.gpus) or "-"
    who = f"worker {decision.worker.rank}: " if decision.worker else ""
    return (
        f"{who}{state or placed.state} gpus={gpus} cpus={format_cpulist(placed.cpus) or '-'} "
        f"mems={format_cpulist(placed.memory_nodes) or '-'} policy={placed.policy}"
    )


def warning_of(decision: Decision) -> Optional[str]:
    """Why the process is not aligned and what to request instead; None if it is aligned."""
    placed = decision.placement
    if placed.state == "aligned":
        return None
    who = f"worker {decision.worker.rank} is " if decision.worker else ""
    advice = decision.cure or placed.advice
    return f"{who}{placed.state}: " + "; ".join(text for text in (placed.reason, advice) if text)


def note_of(decision: Decision) -> Optional[str]:
    """What to tell the user of an aligned process nonetheless; None if nothing."""
    return decision.cure if decision.placement.state == "aligned" else None


def without_gpu(decision: Decision, topology: Topology) -> Optional[str]:
    """What to say of a process that sees no GPU, and so has nothing to be near to."""
    return None if decision.placement.gpus else _no_gpu(topology)
