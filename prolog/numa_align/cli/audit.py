"""``numa-align audit``: how well everything that runs on this node, or on all nodes, is placed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import click

from ..errors import AuditError
from ..slurm_files.hostlist import fold

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..audit.model import Sample


@click.command(
    short_help="Show how well all running jobs are placed.", epilog="Example: numa-align audit --tasks"
)
@click.option("--tasks", is_flag=True, help="Show one row per task instead of one per job.")
@click.option("--all", "all_nodes", is_flag=True, help="Ask all nodes of the cluster that have GPUs.")
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="PATH",
    type=click.Path(exists=True, path_type=Path),
    help="Merge samples from these files, or folders of *.json files, that --json printed elsewhere.",
)
@click.option(
    "--metrics", metavar="FILE", type=click.Path(path_type=Path), help="Write metrics for Prometheus."
)
@click.option(
    "--log", metavar="FILE", type=click.Path(path_type=Path), help="Append the sample to this file."
)
@click.option("--no-names", is_flag=True, help="Leave out users' names.")
@click.option(
    "--memory-budget",
    type=click.IntRange(min=0),
    default=32768,
    show_default=True,
    metavar="MIB",
    help="Resident memory whose location is looked up in one sample; 0 for CPUs only.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/audit.md has the schema.")
def command(
    *,
    tasks: bool,
    all_nodes: bool,
    sources: tuple[Path, ...],
    metrics: Optional[Path],
    log: Optional[Path],
    no_names: bool,
    memory_budget: int,
    as_json: bool,
) -> None:
    """Show for every job on this node whether its tasks are near their GPUs, and if not, why.

    Works with and without the plugin, and needs nothing from the jobs. Root sees everything; other
    users see their own jobs, and how much is hidden from them.
    Exit status: 0, or 2 if nothing can be determined.
    """
    from ..audit.model import without_names  # noqa: PLC0415

    if (all_nodes or sources) and (metrics or log):
        raise click.UsageError(
            "--metrics and --log are about this node: they go with neither --all nor --from"
        )
    samples = _samples(all_nodes, sources, memory_budget)
    if no_names:
        samples = [without_names(sample) for sample in samples]
    if metrics is not None:
        from ..audit.metrics import write_metrics  # noqa: PLC0415

        write_metrics(metrics, samples[0], names=not no_names)
    if log is not None:
        from ..audit.log import append  # noqa: PLC0415

        append(log, samples[0])
    if as_json:
        _print_json(samples)
    elif metrics is None and log is None:
        _print(samples, tasks)


def _samples(all_nodes: bool, sources: Sequence[Path], budget: int) -> list[Sample]:
    if sources:
        from ..audit.log import read_logs  # noqa: PLC0415

        newest: dict[str, Sample] = {}
        for sample in read_logs(sources):
            if sample.node not in newest or newest[sample.node].time <= sample.time:
                newest[sample.node] = sample
        if not newest:
            raise AuditError(f"{', '.join(map(str, sources))}: there is no sample in it")
        return [newest[node] for node in sorted(newest)]
    if all_nodes:
        from ..audit.gather import ask_all  # noqa: PLC0415
        from ..view.progress import progress  # noqa: PLC0415

        with progress("Nodes") as tell:
            samples, silent = ask_all(lambda done, of: tell(done, of, ""))
        for line in said_of_silent(silent):
            click.echo(f"numa-align: {line}", err=True)
        if not samples:
            raise AuditError("no node answered; is numa-align installed there?")
        return samples
    from ..audit.take import take_sample  # noqa: PLC0415
    from ..topology.read import read_here  # noqa: PLC0415

    return [take_sample(read_here(), budget)]


def said_of_silent(silent: Mapping[str, str]) -> Iterator[str]:
    """One line per reason, with the nodes that gave it."""
    for why in dict.fromkeys(silent.values()):
        yield f"{fold(node for node in silent if silent[node] == why)} did not answer: {why}"


def _print_json(samples: Sequence[Sample]) -> None:
    from ..audit.model import to_json  # noqa: PLC0415

    for sample in samples:
        click.echo(json.dumps(to_json(sample)))


def _print(samples: Sequence[Sample], tasks: bool) -> None:
    from ..view.audit import show_samples  # noqa: PLC0415
    from ..view.lists import console_here  # noqa: PLC0415

    console_here().print(show_samples(samples, tasks))
