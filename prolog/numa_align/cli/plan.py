"""``numa-align plan``: what a step would do on this or a recorded machine, without Slurm."""

from __future__ import annotations

from typing import Optional

import click

from ..names import VISIBLE, Visible
from ..placement.claim import read_spec, spec_help
from ..placement.plan import Request, make_plan, select_cpus, select_gpus, select_release, to_json
from ..sysfs import Tree
from .recorded import machine_at, machine_options, surroundings_at
from .words import spec_option


@click.command(
    short_help="Show what a step would do, without Slurm.", epilog="Example: numa-align plan --tasks 2"
)
@machine_options
@click.option(
    "--tasks", "-n", required=True, type=click.IntRange(1, 4096), metavar="N", help="Tasks on this node."
)
@click.option(
    "--gpus", metavar="LIST", help="The step's GPUs: Slurm's indexes, PCI addresses or UUIDs.  [default: all]"
)
@click.option("--no-gpus", is_flag=True, help="A step without GPUs.")
@click.option("--cpus", metavar="LIST", help="The step's CPUs, as in 0-3,8.  [default: all online CPUs]")
@click.option(
    "--visible",
    type=click.Choice(VISIBLE),
    default="all",
    show_default=True,
    help="GPUs that a task sees: all of the step, its own, or those near the CPUs that Slurm gave it.",
)
@click.option(
    "--slurm-version",
    metavar="RELEASE",
    help="Slurm's release, such as 22.05, which decides how tasks are told apart.  [default: the newest]",
)
@spec_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON; its schema is in docs/claim.md.")
@click.option("--svg", metavar="FILE", help="Draw the plan into this file instead.")
def command(
    *,
    root: str,
    node_name: Optional[str],
    tasks: int,
    gpus: Optional[str],
    no_gpus: bool,
    cpus: Optional[str],
    visible: Visible,
    slurm_version: Optional[str],
    spec: Optional[str],
    as_json: bool,
    svg: Optional[str],
) -> None:
    """Show what each task of a step would get: CPUs, memory, state, and what to request instead.

    Nothing is bound and Slurm is not needed; the plugin would make the same decision.
    Exit status: 0 whatever the states are, or 2 for wrong usage or input.
    """
    if gpus is not None and no_gpus:
        raise click.UsageError("--gpus and --no-gpus exclude each other")
    if gpus is not None and not gpus.strip(", "):
        raise click.UsageError("--gpus: the list is empty; --no-gpus plans a step without GPUs")
    read = read_spec(spec)
    if read.help:
        click.echo(spec_help(), nl=False)
        return
    import json  # noqa: PLC0415 (the help needs none of these)

    topology = machine_at(root, node_name=node_name)
    chosen = () if no_gpus else select_gpus(topology, gpus, Tree(root))
    step_cpus, release = select_cpus(topology, cpus), select_release(slurm_version)
    plan = make_plan(topology, Request(tasks, chosen, step_cpus, visible, read, release))
    if as_json:
        click.echo(json.dumps(to_json(topology, plan), indent=1))
        return
    if svg is not None:
        from ..view.svg import draw_plan, heading, host_of, write  # noqa: PLC0415

        title = heading(host_of(root, node_name))
        write(svg, draw_plan(topology, plan, title, *surroundings_at(root, topology)))
        return
    from ..view.lists import console_here  # noqa: PLC0415
    from ..view.terminal import show  # noqa: PLC0415

    show(topology, plan, console_here())
