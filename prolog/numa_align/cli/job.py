"""``numa-align job``: a running job as the kernel sees it, every process and thread on this node."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn, Optional, TypedDict

import click

from ..cpulist import format_cpulist
from ..errors import RequestError
from ..sysfs import one_line
from ..topology.fingerprint import fingerprint
from ..topology.model import Topology
from ..topology.read import read_here
from ..view.common import (
    STATE_STYLES,
    MemoryFields,
    ProcessFields,
    gpus_text,
    memory_fields,
    memory_text,
    nics_text,
    process_fields,
)
from .recorded import surroundings_at

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..process.fix import Fixed
    from ..process.of_job import Seen


@click.command(
    short_help="Show where a running job's processes, threads and pages are.",
    epilog="Example: numa-align job --pid 1",
)
@click.argument("job", type=click.IntRange(min=1), required=False, metavar="[JOBID]")
@click.option(
    "--pid",
    type=click.IntRange(min=1),
    metavar="PID",
    help="Show this process and its children instead of a job.",
)
@click.option("--watch", is_flag=True, help="Refresh until interrupted.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.2),
    default=2.0,
    show_default=True,
    help="Seconds between refreshes.",
)
@click.option("--all-nodes", is_flag=True, help="Ask on every node of the job, through srun --overlap.")
@click.option("--threads", is_flag=True, help="One line per thread.")
@click.option(
    "--fix",
    is_flag=True,
    help="First bind your own processes to the CPUs near their GPUs, each GPU with its share.",
)
@click.option(
    "--move-pages", is_flag=True, help="With --fix: also move their memory near their GPUs, which takes time."
)
@click.option("--svg", metavar="FILE", help="Also draw the processes on the machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/job.md has the schema.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    job: Optional[int],
    pid: Optional[int],
    watch: bool,
    interval: float,
    all_nodes: bool,
    threads: bool,
    fix: bool,
    move_pages: bool,
    svg: Optional[str],
    as_json: bool,
) -> None:
    """Show every process of a running job on this node: CPUs, memory policy, pages by node, GPUs, state.

    The job does not have to cooperate. Its owner and root see everything, others only CPUs. Without JOBID and
    --pid, the job is the one in which the command runs (SLURM_JOB_ID).

    --fix changes only your own running processes: all their threads, except those that already keep to a part
    of the right CPUs. It reports what only the program itself can change.
    Exit status: 0 all processes with a GPU are aligned; 1 one is not, or has undone it; 2 unknown.
    """
    if job is None and pid is None:
        here = os.environ.get("SLURM_JOB_ID", "")
        job = int(here) if here.isascii() and here.isdigit() and len(here) < 11 else None
    if (job is None) == (pid is None):
        raise click.UsageError("say either a JOBID or --pid PID; inside a job neither is needed", ctx)
    if all_nodes and (watch or svg):
        raise click.UsageError("--all-nodes goes with neither --watch nor --svg", ctx)
    if move_pages and not fix:
        raise click.UsageError("--move-pages goes with --fix", ctx)
    if fix and (watch or all_nodes):
        raise click.UsageError("--fix goes with neither --watch nor --all-nodes", ctx)
    if watch and (svg or as_json):
        raise click.UsageError("--watch goes with neither --svg nor --json", ctx)
    if all_nodes:
        _on_all_nodes(job, threads=threads, as_json=as_json)
    topology = read_here()
    if watch:
        _watch(job, pid, topology, interval, threads)
        return
    seen = inspect(job, pid, topology)
    fixed = _fix(job, seen, topology, move_pages) if fix else None
    if fixed is not None:
        seen = inspect(job, pid, topology)  # as the kernel has it now
    if as_json:
        said = {} if fixed is None else {"fixed": [dataclasses.asdict(one) for one in fixed]}
        click.echo(json.dumps({**to_json(job, seen), **said}))
    else:
        from ..view.lists import console_here  # noqa: PLC0415

        console_here().print(picture(job, seen, threads))
    if svg:
        from ..view.svg import draw_processes, heading, host_of, write  # noqa: PLC0415

        title = heading(host_of("/", None))
        write(svg, draw_processes(topology, title, seen, *surroundings_at("/", topology)))
    ctx.exit(status_of(seen))


def _fix(job: Optional[int], seen: Sequence[Seen], topology: Topology, move_pages: bool) -> tuple[Fixed, ...]:
    """Bind this user's processes, and print on stderr what was changed and what cannot be."""
    from ..process.fix import fix, lines_of, room_of  # noqa: PLC0415

    room = room_of(seen, topology.online, in_job=job is not None)
    fixed = fix(seen, topology, room, move=move_pages, uid=os.geteuid())
    for one in fixed:
        for line in lines_of(one):
            click.echo(f"numa-align: {line}", err=True)
    return fixed


def status_of(seen: Sequence[Seen]) -> int:
    """2: unknown; 1: a process with a GPU is not aligned, or one has left its place; else 0."""
    judged = [process for process in seen if process.verdict]
    if not judged:
        return 2
    bad = (p for p in judged if p.undone or (p.gpus and p.verdict and p.verdict.state != "aligned"))
    return 1 if any(bad) else 0


def inspect(job: Optional[int], pid: Optional[int], topology: Topology) -> list[Seen]:
    """Look at all processes once. Raises RequestError if there are none."""
    from ..process.descendants import with_children  # noqa: PLC0415
    from ..process.of_job import gpu_holders, look, pids_of_job  # noqa: PLC0415
    from ..process.open_files import OpenFiles  # noqa: PLC0415
    from ..process.verdict import Places  # noqa: PLC0415

    pids = pids_of_job(job) if job is not None else with_children(pid or 0)
    files, places = OpenFiles(), Places(topology)
    holders = gpu_holders(pids, topology, files)
    looks = (look(one, topology, holders, files, places) for one in pids)
    seen = [process for process in looks if process]
    if not seen:
        if job is None:
            raise RequestError(f"process {pid} ended while it was looked at")
        raise RequestError(
            f"job {job} has no process on this node that this user can see; "
            f"for all nodes of the job: numa-align job {job} --all-nodes"
        )
    return seen


def _on_all_nodes(job: Optional[int], *, threads: bool, as_json: bool) -> NoReturn:
    """Run a step with one task on each node of the job, beside the job's own steps."""
    if job is None:
        raise RequestError("--all-nodes is for a JOBID")
    from ..process.all_nodes import clean_environment, count_nodes, step_beside  # noqa: PLC0415

    words = [
        "numa-align",
        "job",
        str(job),
        *(["--threads"] if threads else []),
        *(["--json"] if as_json else []),
    ]
    # JSON is one line per node, which needs no label.
    step = step_beside(job, count_nodes(job), words, label=not as_json)
    sys.stdout.flush()
    os.execve(step[0], step, clean_environment())


def _watch(
    job: Optional[int], pid: Optional[int], topology: Topology, interval: float, threads: bool
) -> None:
    """Repeat until interrupted, or until there is nothing left to watch."""
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    console = Console(highlight=False)
    known = fingerprint()
    first = inspect(job, pid, topology)
    with Live(picture(job, first, threads), console=console, auto_refresh=False) as live:
        while True:
            try:
                time.sleep(interval)
                now = fingerprint()
                if now != known:  # MIG instances, a driver or CPUs have come or gone
                    known, topology = now, read_here()
                live.update(picture(job, inspect(job, pid, topology), threads), refresh=True)
            except (KeyboardInterrupt, RequestError):
                return


def picture(job: Optional[int], seen: Sequence[Seen], threads: bool = False) -> RenderableType:
    """A table for the terminal; above it the job and the node, below it remarks in sentences."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from ..view.lists import AtCommas  # noqa: PLC0415

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    with_nics = any(process.nics.cards for process in seen)
    columns = ("PID", "Task", "Command", "Threads", "CPUs@nodes", "Policy", "Pages", "GPUs", "Distance")
    for name in (*columns, *(["NICs"] if with_nics else []), "State"):
        table.add_column(name, overflow="fold", no_wrap=name in ("PID", "Policy", "State"))
    for process in seen:
        state = process.verdict.state if process.verdict else "?"
        nics = [Text(nics_text(process.nics) or "-")] if with_nics else []
        table.add_row(*_cells(process), *nics, Text(state, STATE_STYLES.get(state, "dim")))
        for thread in process.threads if threads else ():
            label = Text(f"  {thread.tid} {one_line(thread.name) or '?'}")
            cells = ("", "", label, "", AtCommas(_cpus_text(thread.cpus)))
            table.add_row(*cells, style="dim")
    remarks = [Text(f"{process.pid}: {text}") for process in seen for text in _remarks(process)]
    from ..process.of_job import memory_of_tasks  # noqa: PLC0415

    remarks += [
        Text(
            f"task {task.rank}: {task.processes} processes have "
            f"{memory_text(task.private_by_node, task.shared_by_node) or 'no memory'}"
        )
        for task in memory_of_tasks(seen)
    ]
    heading = [] if job is None else [Text(f"job {job} on {os.uname().nodename}")]
    return Group(*heading, table, *remarks)


def _cells(process: Seen) -> tuple[RenderableType, ...]:
    from rich.text import Text  # noqa: PLC0415

    from ..view.lists import AtCommas  # noqa: PLC0415

    nodes = ",".join(map(str, process.cpu_nodes))
    return (
        str(process.pid),
        "" if process.rank is None else str(process.rank),
        # Users choose the names of processes: no markup, and no escapes that move the terminal's cursor.
        Text(one_line(process.name) or "?"),
        str(len(process.threads)),
        AtCommas(f"{_cpus_text(process.cpus)}@{nodes}" if process.cpus else "-"),
        str(process.state.policy) if process.state else "?",
        _memory(process) or "-",
        gpus_text(process.gpus) or "-",
        "-" if process.distance is None else str(process.distance),
    )


def _memory(process: Seen) -> str:
    state = process.state
    return memory_text(state.private_by_node, state.shared_by_node) if state else ""


def _remarks(process: Seen) -> list[str]:
    remarks = []
    if process.hidden:
        remarks.append(process.hidden)
    if process.verdict and process.verdict.reason:
        remarks.append(process.verdict.reason)
    if process.undone:
        remarks.append(process.undone)
    if process.nics.remark:
        remarks.append(process.nics.remark)
    if process.strays:
        cpus = format_cpulist(cpu for thread in process.strays for cpu in thread.cpus)
        remarks.append(f"{len(process.strays)} of its threads may also run on other CPUs ({cpus})")
    return remarks


class TaskMemoryFields(MemoryFields):
    """The memory of a task in JSON; what its processes share is counted once."""

    task: Optional[int]
    processes: int


class ThreadFields(TypedDict):
    """A thread that may run on other CPUs than its process, in JSON."""

    tid: int
    name: str
    cpus: str


class JobProcessFields(ProcessFields):
    """A process in JSON; docs/job.md describes the fields."""

    name: str
    cpus: str
    cpu_nodes: list[int]
    distance: Optional[int]
    threads: list[ThreadFields]


class JobFields(TypedDict):
    """What ``job --json`` prints, without what ``--fix`` did."""

    version: int
    job: Optional[int]
    node: str
    processes: list[JobProcessFields]
    tasks: list[TaskMemoryFields]


def to_json(job: Optional[int], seen: Sequence[Seen]) -> JobFields:
    """The schema of docs/job.md."""
    from ..process.of_job import memory_of_tasks  # noqa: PLC0415

    tasks: list[TaskMemoryFields] = [
        {
            "task": task.rank,
            "processes": task.processes,
            **memory_fields(task.private_by_node, task.shared_by_node),
        }
        for task in memory_of_tasks(seen)
    ]
    return {
        "version": 1,
        "job": job,
        "node": os.uname().nodename,
        "processes": [_fields(p) for p in seen],
        "tasks": tasks,
    }


@lru_cache(maxsize=256)  # thousands of processes and threads have few different sets
def _cpus_text(cpus: tuple[int, ...]) -> str:
    return format_cpulist(cpus)


def _fields(process: Seen) -> JobProcessFields:
    fields = process_fields(
        pid=process.pid,
        rank=process.rank,
        gpus=process.gpus,
        nics=process.nics,
        state=process.state,
        verdict=process.verdict,
        undone=process.undone,
    )
    if process.hidden:
        fields["reason"] = process.hidden
    return {
        **fields,
        "name": process.name,
        "cpus": _cpus_text(process.cpus),
        "cpu_nodes": list(process.cpu_nodes),
        "distance": process.distance,
        "threads": [
            {"tid": thread.tid, "name": thread.name, "cpus": _cpus_text(thread.cpus)}
            for thread in process.threads
        ],
    }
