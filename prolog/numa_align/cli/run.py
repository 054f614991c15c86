"""``numa-align run``: bind this process near its GPUs, then become the command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, Optional

import click

from ..cpulist import format_cpulist
from ..errors import ClaimError, NumaAlignError, RequestError
from ..placement.claim import spec_help

if TYPE_CHECKING:
    from ..placement.decide import Request
    from ..process.apply import Applied
    from ..topology.model import Topology


@click.command(
    short_help="Run a command near its GPUs, without the plugin.",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
    epilog="Example: numa-align run --gpus 0 -- python3 -c 'import os; print(os.sched_getaffinity(0))'",
)
@click.option(
    "--gpus", metavar="LIST", help="GPUs: Slurm's indexes, PCI addresses or UUIDs.  [default: those it sees]"
)
@click.option(
    "--numa-align", "spec", metavar="SPEC", help="What the option of srun would say; help lists it."
)
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
    "--json", "as_json", is_flag=True, help="Say on stderr, in a line of JSON, what was bound: docs/users.md."
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
    as_json: bool,
    command_line: tuple[str, ...],
) -> None:
    """Bind to the CPUs and the memory nearest to the GPUs, then run COMMAND in this process.

    In a worker of torchrun, Composer, accelerate, deepspeed or mpirun, told by their variables, it takes that
    worker's part of the task's own set:

        torchrun --nproc-per-node=8 --no-python numa-align run python train.py
        deepspeed --no_python --no_local_rank numa-align run python train.py
        mpirun -np 8 --bind-to none numa-align run ./program

    What cannot be bound is a warning and COMMAND runs all the same, unless SPEC says strict. Exit status:
    that of COMMAND; 1 if strict and not aligned; 2 for wrong input; 126 if COMMAND cannot be executed, 127
    if it is not found.
    """
    from ..placement.decide import Request  # noqa: PLC0415
    from ..process.apply import spec_of  # noqa: PLC0415 (the help needs none of these)

    try:
        read = spec_of(spec, os.environ)
    except ClaimError as error:
        # The compiled claim is missing. A job is not to fail by that, unless it said so.
        if not command_line or "strict" in f"{spec} {os.environ.get('NUMA_ALIGN')}":
            raise
        print(f"numa-align: {error}; nothing is bound", file=sys.stderr)
        _execute(command_line)
    if read.help:
        click.echo(spec_help(), nl=False)
        return
    if not command_line:
        raise click.UsageError("there is no COMMAND to run", ctx)
    if read.on:
        _bind(gpus, Request(read, None, local_rank, local_world_size), as_json=as_json)
    _execute(command_line)


def _bind(gpus: Optional[str], request: Request, *, as_json: bool) -> None:
    """Bind this process and say how it went; ends it where strict was asked for and it is not aligned."""
    from ..placement.decide import line_of  # noqa: PLC0415
    from ..process.apply import place_here  # noqa: PLC0415
    from ..topology.read import read_topology  # noqa: PLC0415

    topology = read_topology(node_name=os.environ.get("SLURMD_NODENAME"))
    if gpus is not None:
        request = replace(request, gpus=_named(gpus, topology))
    applied: Optional[Applied] = None
    try:
        applied = place_here(request, os.environ, topology=topology)
        remarks = applied.remarks
    except RequestError:
        raise  # what the user wrote is wrong
    except NumaAlignError as error:
        remarks = (str(error),)
    strict = bool(remarks) and request.spec.strict
    end = "; strict was asked for, so the command is not run" if strict else ""
    if as_json:
        print(json.dumps(to_json(applied, remarks)), file=sys.stderr)
    for remark in () if as_json else remarks:
        print(f"numa-align: {remark}{end}", file=sys.stderr)
    if applied and request.spec.verbose and not as_json:
        for line in (line_of(applied.decision, applied.topology, applied.state), *applied.notes):
            print(f"numa-align: {line}", file=sys.stderr)
    if strict:
        sys.exit(1)


def _named(gpus: str, topology: Topology) -> tuple[int, ...]:
    """The GPUs of --gpus. Raises NumaAlignError for those that are not there, or not to be had."""
    from ..placement.decide import refuse_foreign  # noqa: PLC0415
    from ..placement.plan import select_gpus  # noqa: PLC0415
    from ..placement.visible import may_open  # noqa: PLC0415

    chosen = select_gpus(topology, gpus)
    refuse_foreign(topology, chosen, may_open)
    return chosen


def to_json(applied: Optional[Applied], remarks: Sequence[str]) -> dict[str, Any]:
    """The schema of docs/users.md; ``applied`` is None where nothing could be decided."""
    if applied is None:
        return {"version": 1, "state": "unaligned", "reason": "; ".join(remarks)}
    placed, worker = applied.decision.placement, applied.decision.worker
    return {
        "version": 1,
        "state": applied.state,
        "reason": "; ".join(remarks) or None,
        "gpus": [applied.topology.gpus[gpu].bdf for gpu in placed.gpus],
        "cpus": format_cpulist(placed.cpus),
        "policy": placed.policy,
        "policy_nodes": list(placed.memory_nodes),
        "worker": None if worker is None else {"rank": worker.rank, "count": worker.count},
    }


def _execute(command_line: tuple[str, ...]) -> NoReturn:
    """Become the command. Status as of env(1): 127 not found, 126 found and not executable."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvp(command_line[0], command_line)
    except OSError as error:
        print(f"numa-align: cannot run {command_line[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)
    except ValueError as error:
        print(f"numa-align: cannot run the command: {error}", file=sys.stderr)
        sys.exit(126)
