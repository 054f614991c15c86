"""Samples and reports for the terminal, and a report as one self-contained HTML page."""

from __future__ import annotations

import html
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..audit.model import Sample, TaskSample, Totals, state_of_gpus, totals
from ..audit.report import Estimate, Report
from ..names import STATES
from ..slurm_files.hostlist import fold
from .common import STATE_COLOURS, STATE_STYLES
from .lists import AtCommas


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in ("GPUs", "GPU hours") else "left")
    return table


def show_samples(samples: Sequence[Sample], tasks: bool = False) -> RenderableType:
    """One row per job, or per task, and the sums."""
    rows = [(sample.node, task) for sample in samples for task in sample.tasks]
    body: RenderableType
    if not rows:
        body = Text("No task with GPUs runs here." if len(samples) == 1 else "No task with GPUs runs there.")
    else:
        body = _task_table(rows) if tasks else _job_table(rows)
    return Group(body, Text(), *_sums(totals(samples)))


def _percent(near: int, all_of_it: int) -> str:
    return f"{100 * near / all_of_it:.0f} %" if all_of_it else "-"


def _job_table(rows: Sequence[tuple[str, TaskSample]]) -> Table:
    jobs: dict[int, list[tuple[str, TaskSample]]] = defaultdict(list)
    for node, task in rows:
        jobs[task.job].append((node, task))
    table = _table("Job", "User", "Nodes", "Tasks", "GPUs", "Memory near", "State", "Because")
    for job, own in sorted(jobs.items()):
        by_node: dict[str, list[TaskSample]] = defaultdict(list)
        for node, task in own:
            by_node[node].append(task)
        states: Counter[str] = Counter()
        for group in by_node.values():
            states.update(state_of_gpus(group).values())
        causes = Counter(task.cause for _, task in own if task.cause)
        near, size = sum(task.near_bytes for _, task in own), sum(task.bytes for _, task in own)
        table.add_row(
            str(job), Text(own[0][1].user), str(len(by_node)), str(len(own)), str(sum(states.values())),
            _percent(near, size), _states(states), Text(", ".join(sorted(causes))),
        )  # fmt: skip
    return table


def _states(states: Mapping[str, int]) -> Text:
    """``aligned``, or how many GPUs are in which state."""
    present = [state for state in STATES if states.get(state)]
    if len(present) == 1:
        return Text(present[0], STATE_STYLES[present[0]])
    return Text(", ").join(Text(f"{states[state]} {state}", STATE_STYLES[state]) for state in present)


def _task_table(rows: Sequence[tuple[str, TaskSample]]) -> Table:
    with_nics = any(task.nics for _, task in rows)
    table = _table(
        *("Node", "Job", "Step", "Task", "User", "GPUs", "CPUs", "Policy", "Memory near"),
        *(["NICs near", "NICs far"] if with_nics else []), "State", "Because",
    )  # fmt: skip
    for (job, step, user, gpus, cpus, policy, near, *_), alike in _alike(rows).items():
        task = alike[0][1]
        nodes = fold(node for node, _ in alike)
        table.add_row(
            Text(nodes), str(job), Text(step), _numbers(alike), Text(user), Text(",".join(gpus)),
            AtCommas(cpus or "-"), policy, near, *(_nics(task) if with_nics else ()), _state_of(task),
            Text(task.cause or ""),
        )  # fmt: skip
    return table


def _alike(rows: Sequence[tuple[str, TaskSample]]) -> dict[tuple[Any, ...], list[tuple[str, TaskSample]]]:
    """Tasks grouped by what is shown of them: those that differ only in node and number share a row."""
    groups: dict[tuple[Any, ...], list[tuple[str, TaskSample]]] = {}
    for node, task in rows:
        near = (
            "not counted" if task.memory_skipped and not task.bytes else _percent(task.near_bytes, task.bytes)
        )
        shown = (task.job, task.step, task.user, task.gpus, task.cpus, task.policy, near,
                 task.state, task.cause, task.would, task.would_cpus, task.nics, task.near_nics)  # fmt: skip
        groups.setdefault(shown, []).append((node, task))
    return groups


def _nics(task: TaskSample) -> tuple[Text, Text]:
    """The network cards that it has open: the near ones, and the others."""
    far = (name for name in task.nics if name not in task.near_nics)
    return Text(",".join(task.near_nics) or "-"), Text(",".join(far) or "-")


def _numbers(alike: Sequence[tuple[str, TaskSample]]) -> str:
    """The number of the task in its step, or how many tasks there are."""
    if len(alike) > 1:
        return f"{len(alike)} tasks"
    number = alike[0][1].task
    return "-" if number is None else str(number)


def _state_of(task: TaskSample) -> Text:
    """The state, and the state that it would have if the site rehearses."""
    shown = Text(task.state, STATE_STYLES[task.state])
    if task.would_change and task.would is not None:
        shown.append(f" (would be {task.would} on CPUs {task.would_cpus})", STATE_STYLES[task.would])
    return shown


def _sums(total: Totals) -> Iterator[Text]:
    where = "" if total.nodes == 1 else f" on {total.nodes} nodes"
    states = ", ".join(f"{total.by_state[state]} {state}" for state in STATES if total.by_state[state])
    yield Text(f"{total.in_use} of {total.gpus} GPUs in use{where}{': ' if states else ''}{states}")
    if total.rehearsed:
        yield Text(
            f"rehearsed for {total.rehearsed} of them: {total.would_change} would be placed otherwise, "
            f"{total.would_align} more would be aligned"
        )
    if total.bytes:
        yield Text(f"{_percent(total.near_bytes, total.bytes)} of their tasks' memory is near its GPU")
    if total.idle_near_cores:
        yield Text(f"{total.idle_near_cores} cores near GPUs in use belong to no job")
    if total.hidden:
        yield Text(f"{total.hidden} processes of jobs are hidden from this user; root sees all", "yellow")


# -- Report ----------------------------------------------------------------------------------


def show_report(report: Report, estimate: Optional[Estimate] = None) -> RenderableType:
    """GPU hours by state, user and partition, and the worst jobs."""
    parts: list[RenderableType] = [Text(_period(report))]
    if estimate is not None:
        parts.append(Text(_estimated(estimate)))
    parts += [Text(), _hours_table("All", {"all": report.hours})]
    for title, rows in (("User", report.by_user), ("Partition", report.by_partition)):
        if rows:
            parts += [Text(), _hours_table(title, rows)]
    if report.worst:
        table = _table("Job", "User", "GPU hours", "Because", "What to add or change")
        for job in report.worst:
            table.add_row(str(job.job), Text(job.user), f"{job.hours:.1f}", job.cause, Text(job.advice))
        parts += [Text(), Text("Jobs with most GPU hours that were not aligned:"), table]
    return Group(*parts)


def _period(report: Report) -> str:
    begin, end = (time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) for at in (report.begin, report.end))
    return (
        f"{begin} to {end}: {report.total:.1f} GPU hours on {report.nodes} nodes, {report.samples} samples, "
        f"{_share(report.hours)} aligned"
    )


def _estimated(estimate: Estimate) -> str:
    return (
        f"At most {estimate.lost_hours_at_most:.1f} of {estimate.misplaced_hours:.1f} misplaced GPU hours "
        f"were lost, if these jobs did nothing but move data ({estimate.what} as measured on this site: "
        f"{estimate.near:.1f} GB/s near, {estimate.far:.1f} GB/s far); jobs that mostly compute lose less"
    )


def _share(hours: Mapping[str, float]) -> str:
    total = sum(hours.values())
    return f"{100 * hours.get('aligned', 0.0) / total:.0f} %" if total else "-"


def _hours_table(title: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    table = _table(title, *STATES, "aligned, share")
    for name, hours in rows.items():
        table.add_row(Text(name or "-"), *(f"{hours.get(state, 0.0):.1f}" for state in STATES), _share(hours))
    return table


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>numa-align report</title><style>
body {{ font: 16px/1.45 sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em }}
body {{ color: #222; background: #fff }}
table {{ border-collapse: collapse; margin: 1em 0; width: 100% }}
th, td {{ text-align: left; padding: .25em .6em; border-bottom: 1px solid #ddd; vertical-align: top }}
td.name {{ overflow-wrap: anywhere; min-width: 5em }}
td.bar {{ width: 30% }}
.wide {{ overflow-x: auto }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums }}
code {{ background: #f3f3f3; padding: .1em .3em }}
svg {{ width: 100%; height: 1.5em; display: block }}
.key span {{ display: inline-block; width: 1em; height: 1em; margin: 0 .3em 0 0; vertical-align: -.1em }}
.key span.word {{ width: auto; height: auto; margin: 0 1em 0 0; vertical-align: baseline }}
@media (max-width: 42em) {{
body {{ font-size: 14px; margin: 1em auto }} th, td {{ padding: .25em .3em }} .bar {{ display: none }}
}}
</style></head><body>
<h1>How well GPU jobs were placed</h1><p>{period}</p>{estimate}
<p class="key">{key}</p>
{bars}
<h2>By user</h2>{users}
<h2>By partition</h2>{partitions}
<h2>Jobs with most GPU hours that were not aligned</h2>{worst}
</body></html>
"""


def report_page(report: Report, estimate: Optional[Estimate] = None) -> str:
    """The report as HTML, without scripts or anything that is loaded from elsewhere."""
    key = "".join(
        f'<span style="background:{STATE_COLOURS[state]}"></span><span class="word">{state}</span>'
        for state in STATES
    )
    return _PAGE.format(
        period=html.escape(_period(report)),
        estimate="" if estimate is None else f"<p>{html.escape(_estimated(estimate))}.</p>",
        key=key,
        bars=_bar(report.hours),
        users=_hours_rows("User", report.by_user),
        partitions=_hours_rows("Partition", report.by_partition),
        worst=_worst_rows(report),
    )


def _bar(hours: Mapping[str, float]) -> str:
    total = sum(hours.values())
    x, parts = 0.0, []
    for state in STATES:
        width = 1000 * hours.get(state, 0.0) / total if total else 0.0
        label = f"{state}: {hours.get(state, 0.0):.1f} GPU hours"
        parts.append(
            f'<rect x="{x:.2f}" y="0" width="{width:.2f}" height="30" fill="{STATE_COLOURS[state]}">'
            f"<title>{label}</title></rect>"
        )
        x += width
    return f'<svg viewBox="0 0 1000 30" preserveAspectRatio="none" role="img">{"".join(parts)}</svg>'


def _hours_rows(title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    head = "".join(f'<th class="n">{state}</th>' for state in STATES)
    lines = []
    for name, hours in rows.items():
        cells = "".join(f'<td class="n">{hours.get(state, 0.0):.1f}</td>' for state in STATES)
        lines.append(
            f'<tr><td class="name">{html.escape(name or "-")}</td>{cells}'
            f'<td class="n">{_share(hours)}</td><td class="bar">{_bar(hours)}</td></tr>'
        )
    return (
        f'<div class="wide"><table><tr><th>{title}</th>{head}<th class="n">aligned, share</th>'
        f'<th class="bar"></th></tr>{"".join(lines)}</table></div>'
    )


def _worst_rows(report: Report) -> str:
    lines = "".join(
        f'<tr><td>{job.job}</td><td class="name">{html.escape(job.user)}</td>'
        f'<td class="n">{job.hours:.1f}</td>'
        f"<td>{job.cause}</td><td><code>{html.escape(job.advice)}</code></td></tr>"
        for job in report.worst
    )
    head = (
        '<tr><th>Job</th><th>User</th><th class="n">GPU hours</th><th>Because</th>'
        "<th>What to add or change</th></tr>"
    )
    return f'<div class="wide"><table>{head}{lines}</table></div>'
