"""A plan as a picture for the terminal: one block per NUMA node, its cores marked by task, its GPUs.

Each core is one mark; cores of one last-level cache are together. Marks distinguish tasks without
colour too: one character for up to 62 tasks, the task's number above that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import ascii_lowercase, ascii_uppercase, digits

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..cpulist import format_cpulist
from ..placement.claim import Placement
from ..placement.plan import Plan
from ..topology.model import Core, Gpu, Node, Topology
from ..topology.select import number_of
from .common import STATE_STYLES
from .lists import AtCommas

_CHARACTERS = digits + ascii_lowercase + ascii_uppercase
_COLOURS = ("green", "cyan", "magenta", "yellow", "blue", "red", "bright_green", "bright_cyan",
            "bright_magenta", "bright_yellow", "bright_blue", "bright_red")  # fmt: skip
#: The most columns of a node's picture.
_WIDEST = 132
#: The most tasks of a GPU that are named one by one.
_FEW = 8
#: In the step but unused; held by several tasks; not in the step.
IDLE, SHARED, OUTSIDE = ".", "*", "-"


def mark(task: int, tasks: int) -> str:
    """The mark of a task; all marks of a plan have the same width."""
    if tasks <= len(_CHARACTERS):
        return _CHARACTERS[task]
    return str(task).rjust(len(str(tasks - 1)), "0")


def _colour(task: int) -> str:
    return _COLOURS[task % len(_COLOURS)]


def show(topology: Topology, plan: Plan, console: Console) -> None:
    """Print the picture, one line per task, and remarks about them."""
    # A file has no width, and a picture should not be unlimited.
    width = min(console.width, _WIDEST)
    for node in topology.nodes:
        if node.cpus or any(gpu.node == node.id for gpu in topology.gpus):
            console.print(_block(topology, plan, node, width))
    homeless = [core for core in topology.cores if core.node is None]
    if homeless:
        console.print(
            Panel(_cores(plan, homeless, width - 4), title="no node known", title_align="left", width=width)
        )
    console.print(_legend(topology, plan))
    console.print(_tasks(topology, plan))
    for remark in _remarks(plan):
        console.print(remark)


def _block(topology: Topology, plan: Plan, node: Node, width: int) -> RenderableType:
    cores = [core for core in topology.cores if core.node == node.id]
    packages = sorted({core.package for core in cores if core.package >= 0})
    title = f"node {node.id}"
    if packages:
        title += f", package {format_cpulist(packages)}"
    if node.memory_bytes:
        title += f", {node.memory_bytes / (1 << 30):.0f} GiB"
    parts: list[RenderableType] = []
    if cores:
        parts.append(_cores(plan, cores, width - 4))
    parts += [
        _gpu_line(plan, topology.gpus, position)
        for position, gpu in enumerate(topology.gpus)
        if gpu.node == node.id
    ]
    return Panel(Group(*parts), title=Text(title), title_align="left", width=width)


def _holders(plan: Plan) -> dict[int, list[int]]:
    holders: dict[int, list[int]] = {}
    for task, placement in enumerate(plan.placements):
        for cpu in placement.cpus:
            holders.setdefault(cpu, []).append(task)
    return holders


def _core_mark(
    plan: Plan, core: Core, holders: dict[int, list[int]], step: frozenset[int]
) -> tuple[str, str]:
    tasks = len(plan.placements)
    width = len(mark(0, tasks))
    mine = {task for cpu in core.cpus for task in holders.get(cpu, ())}
    if len(mine) == 1:
        task = mine.pop()
        return mark(task, tasks), _colour(task)
    if mine:
        return SHARED * width, "bold"
    return (IDLE if step.intersection(core.cpus) else OUTSIDE) * width, "dim"


def _cores(plan: Plan, cores: Sequence[Core], width: int) -> Text:
    """Marks in the order of caches, wrapped between caches if possible."""
    holders, step = _holders(plan), frozenset(plan.request.cpus)
    gap = " " if len(mark(0, len(plan.placements))) > 1 else ""
    caches: dict[int, list[Core]] = {}
    for core in cores:
        caches.setdefault(core.llc, []).append(core)
    text, used = Text(), 0
    for cache in caches.values():
        marks = [_core_mark(plan, core, holders, step) for core in cache]
        length = sum(len(shown) for shown, _ in marks) + len(gap) * (len(marks) - 1)
        if used:
            fits = used + 2 + length <= width
            text.append("  " if fits else "\n")
            used = used + 2 if fits else 0
        for i, (shown, style) in enumerate(marks):
            if used + len(gap) + len(shown) > width:
                text.append("\n")
                used = 0
            elif i:
                text.append(gap)
                used += len(gap)
            text.append(shown, style)
            used += len(shown)
    return text


def _gpu_line(plan: Plan, gpus: Sequence[Gpu], position: int) -> Text:
    number, gpu = number_of(gpus, position), gpus[position]
    users = [task for task, placement in enumerate(plan.placements) if position in placement.gpus]
    line = Text(f"GPU {number}  {gpu.bdf}  ", "bold" if users else "dim")
    if not users:
        line.append("not used")
    elif len(users) == 1:
        line.append(f"task {users[0]}", _colour(users[0]))
    elif len(users) <= _FEW:
        line.append(f"tasks {format_cpulist(users)}")
    else:
        line.append(f"{len(users)} tasks, {users[0]} to {users[-1]}")
    return line


def _legend(topology: Topology, plan: Plan) -> Text:
    unknown = [gpu.bdf for gpu in topology.gpus if gpu.node is None]
    text = f"One mark a core: its task, {IDLE} idle, {SHARED} several tasks, {OUTSIDE} not in the step."
    if unknown:
        text += f" On no known node: {', '.join(unknown)}."
    return Text(text, "dim")


def _tasks(topology: Topology, plan: Plan) -> Table:
    tasks = len(plan.placements)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("", "Task", "GPUs", "CPUs", "Memory", "State"):
        table.add_column(name, overflow="fold", justify="right" if name == "Task" else "left")
    for task, placement in enumerate(plan.placements):
        table.add_row(
            Text(mark(task, tasks), _colour(task)),
            str(task),
            "\n".join(topology.gpus[gpu].bdf for gpu in placement.gpus) or "-",
            AtCommas(_cpus(placement)),
            _memory(placement),
            Text(placement.state, STATE_STYLES[placement.state]),
        )
    return table


def _cpus(placement: Placement) -> str:
    """The list, and how many of them are outside the GPUs' own nodes, if any."""
    beside = f" ({placement.own} on its GPUs' nodes, {placement.beside} beside)" if placement.beside else ""
    return (format_cpulist(placement.cpus) or "-") + beside


def _memory(placement: Placement) -> str:
    nodes = format_cpulist(placement.memory_nodes)
    if placement.policy in ("default", "local") or not nodes:
        return placement.policy
    return f"{placement.policy} {nodes}"


def _remarks(plan: Plan) -> Iterator[Text]:
    """Each reason and piece of advice once, with the tasks it applies to."""
    said: dict[tuple[str, str, str], list[int]] = {}
    for task, placement in enumerate(plan.placements):
        reason = placement.reason or placement.note or ""
        if reason or placement.advice:
            key = (placement.state, reason, placement.advice or "")
            said.setdefault(key, []).append(task)
    for (state, reason, advice), tasks in said.items():
        name = "Task" if len(tasks) == 1 else "Tasks"
        line = Text(f"{name} {format_cpulist(tasks)} {state}", STATE_STYLES[state])
        line.append(f": {reason}." if reason else ".", "default")
        if advice:
            line.append(
                f" {advice[0].upper() if not advice.startswith('-') else advice[0]}{advice[1:]}.", "default"
            )
        yield line
