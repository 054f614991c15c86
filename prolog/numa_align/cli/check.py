"""``numa-align check``: whether this task is aligned, as the kernel reports it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional

import click

from ..cpulist import format_cpulist
from ..errors import RequestError
from ..names import GPUS, REASON, STATE, WORKER, State
from ..placement.visible import gpus_of_task
from ..process.held_nics import NO_NICS, HeldNics, held_nics
from ..process.node_memory import read_nodes_memory
from ..process.open_files import OpenFiles
from ..process.state import ProcessState, read_environment, read_process
from ..process.step_total import count, leave, meeting_of, sweep
from ..process.undone import undone
from ..process.verdict import Verdict, judge
from ..slurm_env import rank_of
from ..topology.model import Gpu, Topology
from ..topology.read import read_here
from ..view.common import ProcessFields, gpus_text, memory_text, nics_text, process_fields
from . import say

#: Without a GPU or a network card there is nothing to be near to.
_NO_GPU = "no GPU is visible to this process, so there is nothing to check"


class CheckFields(ProcessFields):
    """What ``check --json`` prints; docs/check.md describes it."""

    version: int
    node: Optional[str]
    cpus: str
    cpu_nodes: list[int]
    near_percent: Optional[float]
    note: Optional[str]


def as_json(
    state: ProcessState,
    gpus: Sequence[Gpu],
    verdict: Verdict,
    environment: Mapping[str, str],
    nics: HeldNics = NO_NICS,
) -> CheckFields:
    """The verdict as ``check --json`` prints it; docs/check.md describes the fields."""
    lost = undone(state, environment, verdict.local)
    return {
        "version": 1,
        "node": environment.get("SLURMD_NODENAME"),
        "cpus": format_cpulist(state.cpus),
        "cpu_nodes": list(verdict.cpu_nodes),
        **process_fields(
            pid=state.pid,
            rank=rank_of(environment),
            gpus=gpus,
            nics=nics,
            state=state,
            verdict=verdict,
            undone=lost,
        ),
        # Without a GPU these are the nodes near its CPUs, which is not what the field means.
        "near_percent": round(100 * verdict.near_bytes / verdict.bytes, 2)
        if gpus and verdict.bytes
        else None,
        "note": _note(verdict, environment),
    }


def as_line(
    state: ProcessState,
    gpus: Sequence[Gpu],
    verdict: Verdict,
    environment: Mapping[str, str],
    nics: HeldNics = NO_NICS,
) -> str:
    """One line for a person: GPU minor@node, CPUs@nodes, policy, memory by node, state."""
    rank = rank_of(environment)
    memory = memory_text(state.private_by_node, state.shared_by_node)
    line = (
        f"{f'pid {state.pid}' if rank is None else f'task {rank}'}: gpu {gpus_text(gpus) or 'none'}"
        f"  cpus {format_cpulist(state.cpus)}@{','.join(map(str, verdict.cpu_nodes))}"
        f"  policy {state.policy}  memory {memory or 'none'}"
        f"{f'  nic {nics_text(nics)}' if nics.cards else ''}  {verdict.state}"
    )
    remarks = (
        verdict.reason,
        _note(verdict, environment),
        undone(state, environment, verdict.local),
        nics.remark,
    )
    told = "; ".join(text for text in remarks if text)
    return f"{line} ({told})" if told else line


def _note(verdict: Verdict, environment: Mapping[str, str]) -> Optional[str]:
    """The remark made when an aligned task was placed: that it has fewer CPUs than Slurm gave it."""
    if verdict.state != "aligned" or environment.get(STATE) != "aligned":
        return None
    return environment.get(REASON)


def inspect(
    pid: Optional[int], topology: Topology
) -> tuple[ProcessState, tuple[Gpu, ...], Verdict, Mapping[str, str]]:
    """Ask the kernel about a process (None: this one) and judge it."""
    environment = os.environ if pid is None else read_environment(pid)
    state = read_process(os.getpid() if pid is None else pid)
    gpus = _gpus(topology, environment)
    verdict = judge(state, gpus, topology, read_nodes_memory)
    if not gpus:
        verdict = replace(verdict, state="unaligned", reason=_NO_GPU)
    return state, gpus, verdict, environment


def _gpus(topology: Topology, environment: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs that the process uses; a launcher's worker sees all, and uses those by which it was placed."""
    if WORKER in environment:
        named = environment.get(GPUS, "").split(",")
        return tuple(gpu for gpu in topology.gpus if gpu.bdf in named)
    return gpus_of_task(topology.gpus, environment)


@click.command(
    short_help="Check whether this task is aligned, as the kernel reports it.",
    epilog="Example: srun --numa-align -n8 --gpus=8 numa-align check",
)
@click.option(
    "--pid", type=click.IntRange(min=1), metavar="PID", help="Check this process instead of this command."
)
@click.option(
    "--json", "json_", is_flag=True, help="Print JSON, one object per task; docs/check.md has the schema."
)
@click.option(
    "--no-total", is_flag=True, help="Do not wait for the other tasks of the step, and print no total."
)
@click.option(
    "--gather",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    metavar="DIR",
    help="Count the tasks of all nodes of the step, through a folder that all nodes can see.",
)
@click.pass_context
def command(
    ctx: click.Context, *, pid: Optional[int], json_: bool, no_total: bool, gather: Optional[Path]
) -> None:
    """Check whether this task is aligned with its GPUs, as the kernel reports it.

    Run as a step (srun --numa-align numa-align check), it prints one line per task and a total for each node,
    and srun exits with 1 if any task is not aligned. A task can also check another process (--pid).
    Exit status: 0 aligned; 1 not aligned, or undone by the program; 2 unknown, for example without a GPU.
    """
    topology = read_here()
    state, gpus, verdict, environment = inspect(pid, topology)
    nics = held_nics(OpenFiles().of(state.pid), gpus, topology)
    if json_:
        click.echo(json.dumps(as_json(state, gpus, verdict, environment, nics)))
    else:
        click.echo(as_line(state, gpus, verdict, environment, nics))
        sys.stdout.flush()
        if pid is None and not no_total:
            _total(environment, verdict.state, gather)
    if not gpus:
        ctx.exit(2)
    ctx.exit(0 if verdict.state == "aligned" and undone(state, environment, verdict.local) is None else 1)


def _total(environment: Mapping[str, str], state: State, shared: Optional[Path]) -> None:
    """Let the first task of the node (with a shared folder: of the step) print how many are aligned."""
    meeting = meeting_of(environment, shared)
    if meeting is None:
        return
    try:
        number = leave(meeting, state)
        if meeting.rank != 0:
            return
        total = count(meeting, number)
    except RequestError as error:
        # Each task has printed its own line and srun reports the status, so one message is enough.
        if meeting.rank == 0:
            say(f"numa-align: {error}")
        return
    where = environment.get("SLURMD_NODENAME")
    name = f" on {where}" if where and shared is None else ""
    click.echo(f"total{name}: {total}")
    sweep(meeting)
