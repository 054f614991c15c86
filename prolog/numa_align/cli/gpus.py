"""``numa-align gpus COUNT``: which GPUs of this node are best used together, and why."""

from __future__ import annotations

import json
from typing import Optional, TypedDict

import click

from .recorded import is_live, machine_at, machine_options


class ChosenFields(TypedDict):
    """A chosen GPU in JSON."""

    number: int
    bdf: str
    node: Optional[int]


class GpusFields(TypedDict):
    """What ``gpus --json`` prints; docs/users.md describes the fields."""

    version: int
    gpus: list[ChosenFields]
    reasons: list[str]
    nics: list[str]


@click.command(
    short_help="Find the GPUs of this node that sit best together.", epilog="Example: numa-align gpus 2"
)
@click.argument("count", type=click.IntRange(min=1), metavar="COUNT")
@machine_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/users.md has the schema.")
def command(*, count: int, root: str, node_name: Optional[str], as_json: bool) -> None:
    """Find the COUNT GPUs nearest to each other: on one node, behind one switch, else evenly over near nodes.

    The first line is a list for `numa-align run --gpus`, `numa-align show --gpus` or CUDA_VISIBLE_DEVICES.
    Exit status: 0, or 2 if there are not enough GPUs.
    """
    from ..placement.choose_gpus import bridges_of, choose  # noqa: PLC0415
    from ..placement.plan import nics_of  # noqa: PLC0415
    from ..placement.visible import may_open  # noqa: PLC0415
    from ..topology.select import number_of  # noqa: PLC0415

    topology = machine_at(root, node_name=node_name)
    live = is_live(root)
    usable = [gpu for gpu in topology.gpus if not live or (gpu.device and may_open(gpu.device))]
    best = choose(topology, count, usable, {gpu.bdf: bridges_of(gpu, root) for gpu in usable})
    order = {gpu.bdf: position for position, gpu in enumerate(topology.gpus)}
    numbers = [number_of(topology.gpus, order[gpu.bdf]) for gpu in best.gpus]
    nics = nics_of(topology, [order[gpu.bdf] for gpu in best.gpus])
    if as_json:
        result: GpusFields = {
            "version": 1,
            "gpus": [
                {"number": number, "bdf": gpu.bdf, "node": gpu.node}
                for number, gpu in zip(numbers, best.gpus)
            ],
            "reasons": list(best.reasons),
            "nics": list(nics),
        }
        click.echo(json.dumps(result, indent=1))
        return
    click.echo(",".join(map(str, numbers)))
    for reason in best.reasons:
        click.echo(f"  {reason}")
    if nics:
        click.echo(f"  network cards nearest to them: {', '.join(nics)}")
