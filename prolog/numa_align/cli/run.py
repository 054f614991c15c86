"""``numa-align run``: bind this process near its GPUs, then become the command."""

from __future__ import annotations

import os
import sys
from typing import NoReturn, Optional

import click

from ..claim import Spec, spec_help
from ..errors import NumaAlignError, RequestError


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
@click.argument("command_line", metavar="COMMAND [ARG]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(
    ctx: click.Context,
    *,
    gpus: Optional[str],
    spec: Optional[str],
    local_rank: Optional[int],
    local_world_size: Optional[int],
    command_line: tuple[str, ...],
) -> None:
    """Bind to the CPUs and the memory nearest to the GPUs, then run COMMAND in this process.

    In a worker of torchrun, Composer, accelerate or deepspeed (LOCAL_RANK and LOCAL_WORLD_SIZE are set) it
    takes that worker's part of the task's own set:

        torchrun --nproc-per-node=8 --no-python numa-align run python train.py

    What cannot be bound is a warning and COMMAND runs all the same, unless SPEC says strict. Exit status:
    that of COMMAND; 1 if strict and not aligned; 2 for wrong input; 126 if COMMAND cannot be executed, 127
    if it is not found.
    """
    from ..apply import spec_of  # noqa: PLC0415 (the help needs none of these)

    read = spec_of(spec, os.environ)
    if read.help:
        click.echo(spec_help(), nl=False)
        return
    if not command_line:
        raise click.UsageError("there is no COMMAND to run", ctx)
    if read.on:
        _bind(gpus, read, local_rank, local_world_size)
    _execute(command_line)


def _bind(gpus: Optional[str], spec: Spec, local_rank: Optional[int], world_size: Optional[int]) -> None:
    from ..apply import place_here  # noqa: PLC0415
    from ..devices import may_open  # noqa: PLC0415
    from ..plan import select_gpus  # noqa: PLC0415
    from ..run import Request, line_of, refuse_foreign, warning_of  # noqa: PLC0415
    from ..topology import read_topology  # noqa: PLC0415

    topology = read_topology(node_name=os.environ.get("SLURMD_NODENAME"))
    chosen = None
    if gpus is not None:
        chosen = select_gpus(topology, gpus)
        refuse_foreign(topology, chosen, may_open)
    try:
        applied = place_here(Request(spec, chosen, local_rank, world_size), os.environ, topology=topology)
    except RequestError:
        raise  # what the user wrote is wrong
    except NumaAlignError as error:
        _not_aligned(str(error), spec.strict)
        return
    for failure in applied.failures:
        _not_aligned(failure, spec.strict)
    warning = warning_of(applied.decision)
    if warning:
        _not_aligned(warning, spec.strict)
    if spec.verbose:
        print(f"numa-align: {line_of(applied.decision, topology, applied.state)}", file=sys.stderr)


def _not_aligned(reason: str, strict: bool) -> None:
    end = "; strict was asked for, so the command is not run" if strict else ""
    print(f"numa-align: {reason}{end}", file=sys.stderr, flush=True)
    if strict:
        sys.exit(1)


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
