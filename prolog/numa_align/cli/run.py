"""``numa-align run``: bind this process near its GPUs, then become the command."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn, Optional, TypedDict, Union

import click

from ..cpulist import format_cpulist
from ..errors import ClaimError, NumaAlignError, RequestError
from ..names import PolicyMode, State
from ..placement.claim import spec_help
from . import say
from .words import spec_option

if TYPE_CHECKING:
    from ..placement.decide import ProcessRequest
    from ..process.apply import Applied
    from ..process.room import Made, Room
    from ..topology.model import Topology

#: Signals that Python ignores from its start, which the command would inherit (subprocess does the same).
_IGNORED = ("SIGPIPE", "SIGXFSZ")


@dataclass(frozen=True)
class _Wish:
    """Which variables the user wants set or left alone, besides the placement."""

    threads: bool = False
    visible: bool = True
    room: Optional[Room] = None


@click.command(
    short_help="Run a command near its GPUs, without the plugin.",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
    epilog="Example: numa-align run --gpus 0 -- python3 -c 'import os; print(os.sched_getaffinity(0))'",
)
@click.option(
    "--gpus",
    metavar="LIST",
    help="GPUs: Slurm's indexes, PCI addresses or UUIDs.  [default: those visible to the process]",
)
@spec_option
@click.option(
    "--local-rank",
    type=click.IntRange(0, 4095),
    metavar="N",
    help="Number of this worker.  [env: LOCAL_RANK]",
)
@click.option(
    "--local-world-size",
    type=click.IntRange(1, 4096),
    metavar="N",
    help="Workers of the task on this node.  [env: LOCAL_WORLD_SIZE; default: the task's GPUs]",
)
@click.option(
    "--threads",
    is_flag=True,
    help="Set OMP_NUM_THREADS to the number of its cores, if it is not set or torchrun has set it to 1.",
)
@click.option(
    "--leave-visible",
    is_flag=True,
    help="With --gpus: do not set CUDA_VISIBLE_DEVICES or the corresponding variable of another vendor.",
)
@click.option(
    "--room",
    metavar="auto|SIZE",
    help="First drop page cache on the nodes of its GPUs, until SIZE (8G) or its share (auto) is free.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print what was bound as a line of JSON on stderr; docs/users.md has the schema.",
)
@click.argument("command_line", metavar="COMMAND [ARG]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(
    ctx: click.Context,
    *,
    gpus: Optional[str],
    spec: Optional[str],
    local_rank: Optional[int],
    local_world_size: Optional[int],
    threads: bool,
    leave_visible: bool,
    room: Optional[str],
    as_json: bool,
    command_line: tuple[str, ...],
) -> None:
    """Bind to the CPUs and the memory nearest to the GPUs, then run COMMAND in this process.

    In a worker of torchrun, Composer, accelerate, deepspeed, Lightning, mpirun and others, recognised by
    their variables, it takes that worker's part of the task's own set:

        torchrun --nproc-per-node=8 --no-python numa-align run python train.py
        deepspeed --no_python --no_local_rank numa-align run python train.py
        mpirun -np 8 --map-by :OVERSUBSCRIBE --bind-to none numa-align run ./program

    With --gpus outside a Slurm allocation, COMMAND sees only these GPUs. If something cannot be bound, a
    warning is printed and COMMAND runs anyway, unless SPEC says strict. Exit status: that of COMMAND; 1 if
    strict and not aligned; 2 for wrong input; 126 if COMMAND cannot be executed, 127 if it is not found.
    """
    from ..placement.decide import ProcessRequest  # noqa: PLC0415
    from ..process.apply import spec_of  # noqa: PLC0415 (the help needs none of these)
    from ..process.room import parse_room  # noqa: PLC0415

    try:
        read, warning = spec_of(spec, os.environ)
    except ClaimError as error:
        # The compiled claim is missing. A job does not fail because of that, unless it asked for it.
        if not command_line or "strict" in f"{spec} {os.environ.get('NUMA_ALIGN')}":
            raise
        say(f"numa-align: {error}; nothing is bound")
        if gpus is not None and not leave_visible:
            topology = _topology()
            os.environ.update(_exposed(_named(gpus, topology), topology))
        _execute(command_line)
    if read.help:
        click.echo(spec_help(), nl=False)
        return
    if not command_line:
        raise click.UsageError("there is no COMMAND to run", ctx)
    asked = parse_room(room) if room else None
    if gpus is not None and not gpus.strip(", "):
        raise click.UsageError(
            "run: --gpus: the list is empty; without --gpus it takes the GPUs that it sees", ctx
        )
    if read.on:
        request = ProcessRequest(read, None, local_rank, local_world_size, insists=spec is not None)
        wish = _Wish(threads, not leave_visible, asked)
        _bind(gpus, request, wish, [warning] if warning else [], as_json=as_json)
    elif warning:
        say(f"numa-align: {warning}")
    _execute(command_line)


def _bind(
    gpus: Optional[str], request: ProcessRequest, wish: _Wish, warnings: Sequence[str], *, as_json: bool
) -> None:
    """Bind this process and report it; end it if strict was asked for and the process is not aligned."""
    from ..process.apply import place_here  # noqa: PLC0415

    topology = _topology()
    variables: dict[str, str] = {}
    if gpus is not None:
        request = replace(request, gpus=_named(gpus, topology))
        if wish.visible:
            variables = _exposed(request.gpus or (), topology)
    applied: Optional[Applied] = None
    try:
        applied = place_here(request, os.environ, topology=topology)
        objections = applied.objections if request.spec.strict else applied.remarks
        variables.update(_for_programs(applied, wish, tell=request.spec.tell))
        os.environ.update(variables)
    except RequestError:
        raise  # what the user wrote is wrong
    except NumaAlignError as error:
        objections = (str(error),)
    strict = bool(objections) and request.spec.strict
    made = _make_room(applied, wish.room) if applied and not strict else ()
    said = [*warnings, *objections, *(applied.hints if applied else ())]
    if as_json:
        say(json.dumps(to_json(applied, said, variables, made)))
    else:
        _report(applied, said, variables, request, strict=strict)
        for one in made:
            say(f"numa-align: {one.line}")
    if strict:
        sys.exit(1)


def _topology() -> Topology:
    from ..topology.read import read_here  # noqa: PLC0415

    return read_here()


def _report(
    applied: Optional[Applied],
    said: Sequence[str],
    variables: Mapping[str, str],
    request: ProcessRequest,
    *,
    strict: bool,
) -> None:
    from ..placement.decide import line_of  # noqa: PLC0415

    end = "; strict was asked for, so the command is not run" if strict else ""
    for text in said:
        say(f"numa-align: {text}{end}")
    if applied and request.spec.verbose:
        for line in (line_of(applied.decision, applied.topology, applied.state), *applied.notes):
            say(f"numa-align: {line}")
        for name, value in variables.items():
            say(f"numa-align: set for the command: {name}={value}")


def _exposed(chosen: Sequence[int], topology: Topology) -> dict[str, str]:
    """Variables that show the command the GPUs that were named. Raises RequestError."""
    from ..placement.expose import expose  # noqa: PLC0415
    from ..placement.visible import may_open  # noqa: PLC0415

    return expose(topology.gpus, [topology.gpus[gpu] for gpu in chosen], os.environ, may_open)


def _for_programs(applied: Applied, wish: _Wish, *, tell: bool) -> dict[str, str]:
    """Variables that tell programs about their placement."""
    from ..placement.programs import hands_off  # noqa: PLC0415

    cpus = set(applied.decision.placement.cpus)
    variables: dict[str, str] = {}
    if tell and not applied.failures:
        variables.update(hands_off(os.environ, tuple(cpus), applied.topology.online))
    libraries = applied.decision.libraries
    variables.update({name: value for name, value in libraries.items() if name not in os.environ})
    if wish.threads and _may_set_threads(os.environ):
        cores = sum(not cpus.isdisjoint(core.cpus) for core in applied.topology.cores)
        variables["OMP_NUM_THREADS"] = str(max(cores, 1))
    return variables


def _may_set_threads(environment: Mapping[str, str]) -> bool:
    """Whether nobody has chosen the number of threads: torchrun sets 1 if the user has set nothing."""
    number = environment.get("OMP_NUM_THREADS")
    return number is None or (number == "1" and "TORCHELASTIC_RUN_ID" in environment)


def _make_room(applied: Applied, room: Optional[Room]) -> tuple[Made, ...]:
    """Do what --room asks for, on the memory nodes of the GPUs that this process uses."""
    if room is None or not room.on:
        return ()
    from ..process.make_room import make_room, memory_headroom  # noqa: PLC0415
    from ..process.room import wanted_by_node  # noqa: PLC0415

    gpus = applied.decision.placement.gpus
    return make_room(wanted_by_node(applied.topology, gpus, room, memory_headroom()))


def _named(gpus: str, topology: Topology) -> tuple[int, ...]:
    """The GPUs of --gpus. Raises NumaAlignError for those that do not exist or cannot be used."""
    from ..placement.decide import refuse_foreign  # noqa: PLC0415
    from ..placement.plan import select_gpus  # noqa: PLC0415
    from ..placement.visible import may_open  # noqa: PLC0415

    chosen = select_gpus(topology, gpus)
    refuse_foreign(topology, chosen, may_open)
    return chosen


class RoomFields(TypedDict):
    """What --make-room did on a node, in JSON; sizes in bytes."""

    node: int
    free_before: int
    free_after: int
    wanted: int
    milliseconds: float
    reason: Optional[str]


class WorkerFields(TypedDict):
    """Which worker of its task the process is, in JSON."""

    rank: int
    count: int


class UndecidedFields(TypedDict):
    """What ``run --json`` prints if nothing could be decided."""

    version: int
    state: State
    reason: Optional[str]


class RunFields(UndecidedFields):
    """What it prints otherwise; docs/users.md describes the fields."""

    gpus: list[str]
    cpus: str
    policy: PolicyMode
    policy_nodes: list[int]
    room: list[RoomFields]
    worker: Optional[WorkerFields]
    variables: dict[str, str]


def to_json(
    applied: Optional[Applied],
    said: Sequence[str],
    variables: Mapping[str, str],
    made: Sequence[Made] = (),
) -> Union[UndecidedFields, RunFields]:
    """The schema of docs/users.md; ``applied`` is None if nothing could be decided."""
    if applied is None:
        return {"version": 1, "state": "unaligned", "reason": "; ".join(said)}
    placed, worker = applied.decision.placement, applied.decision.worker
    return {
        "version": 1,
        "state": applied.state,
        "reason": "; ".join(said) or None,
        "gpus": [applied.topology.gpus[gpu].bdf for gpu in placed.gpus],
        "cpus": format_cpulist(placed.cpus),
        "policy": placed.policy,
        "policy_nodes": list(placed.memory_nodes),
        "room": [
            {
                "node": one.before.node,
                "free_before": one.before.free,
                "free_after": one.after.free,
                "wanted": one.wanted,
                "milliseconds": one.milliseconds,
                "reason": one.reason,
            }
            for one in made
        ],
        "worker": None if worker is None else {"rank": worker.rank, "count": worker.count},
        "variables": dict(variables),
    }


def _execute(command_line: tuple[str, ...]) -> NoReturn:
    """Become the command. Exit statuses as of env(1): 127 not found, 126 found but not executable."""
    for name in _IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvp(command_line[0], command_line)
    except OSError as error:
        say(f"numa-align: cannot run {command_line[0]}: {error.strerror}")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)
    except ValueError as error:
        say(f"numa-align: cannot run the command: {error}")
        sys.exit(126)
