"""``numa-align topo``: the machine as this package sees it, for a person or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Optional

import click

from ..cpulist import format_cpulist
from ..topology.as_json import to_json
from ..topology.contradictions import contradictions
from ..topology.model import Attached, Gpu, Node, Topology
from .recorded import attached_at, machine_at, machine_options, node_name_at, surroundings_at

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

# On terminals narrower than this many columns, GPUs are listed one below the other.
_NARROW = 72

# With more nodes than this, distances are grouped instead of shown as a matrix.
_MATRIX_NODES = 16

_KIND_STYLES = {"cpu": "green", "cpu-only": "yellow", "memory": "cyan", "gpu-memory": "dim"}
_SOURCE_STYLES = {"none": "bold red", "override": "yellow", "only-node": "yellow"}


@click.command(
    short_help="Show the NUMA nodes, GPUs and network cards of this machine.",
    epilog="Example: numa-align topo --json",
)
@machine_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON; its schema is in docs/topology.md.")
@click.option(
    "--override",
    metavar="FILE",
    help="The site's override file.  [default: DIR/etc/numa-align/override.toml]",
)
@click.option(
    "--gres-conf", metavar="FILE", help="Slurm's gres.conf.  [default: in the usual places below DIR]"
)
@click.option("--svg", metavar="FILE", help="Draw the machine into this file instead.")
def command(
    *,
    root: str,
    as_json: bool,
    override: Optional[str],
    gres_conf: Optional[str],
    node_name: Optional[str],
    svg: Optional[str],
) -> None:
    """Show the NUMA nodes of this machine, its GPUs, and how the node of each GPU is known.

    Also show its network cards and NVMe disks, and how far each is from each GPU, in the terms of nvidia-smi
    topo: PIX, PXB, PHB, NODE, SYS, from a common switch to different NUMA nodes.

    Exit status: 0, or 2 for wrong usage or input.
    """
    name = node_name_at(root, node_name)
    topology = machine_at(root, override=override, gres_conf=gres_conf, node_name=name)
    topology = topology._replace(warnings=(*topology.warnings, *contradictions(topology)))
    if svg is not None:
        from ..view.svg import draw_machine, heading, host_of, write  # noqa: PLC0415

        write(svg, draw_machine(topology, heading(host_of(root, name)), *surroundings_at(root, topology)))
    elif as_json:
        click.echo(to_json(topology, name, attached_at(root, topology)))
        for warning in topology.warnings:
            click.echo(f"numa-align: warning: {warning}", err=True)
    else:
        show(topology, attached_at(root, topology))


# -- For a person ----------------------------------------------------------------------------


def show(topology: Topology, attached: Attached, console: Optional[Console] = None) -> None:
    """Print the machine as tables that fit the width, in colour on a terminal."""
    from ..view.cards import parts_of  # noqa: PLC0415 (a tenth of a second that --json need not wait)
    from ..view.lists import console_here  # noqa: PLC0415

    console = console or console_here()
    console.print(_summary(topology))
    console.print()
    console.print(_node_table(topology))
    width = console.width
    for part in (
        *_distance_parts(topology, width),
        *_gpu_parts(topology, width),
        *parts_of(topology, attached, width),
    ):
        console.print()
        console.print(part)
    if topology.warnings:
        console.print()
    for warning in topology.warnings:
        console.print(f"Warning: {warning}", style="yellow", markup=False)


def _summary(topology: Topology) -> str:
    threads = max((len(core.cpus) for core in topology.cores), default=1)
    packages = {core.package for core in topology.cores}
    parts = [
        _count(len(topology.online), "CPU") + f" ({format_cpulist(topology.online)})",
        _count(len(topology.cores), "core") + (f" of up to {threads} threads" if threads > 1 else ""),
        _count(len(packages), "package"),
        _count(len(topology.nodes), "node"),
        _count(len(topology.gpus), "GPU"),
    ]
    return ", ".join(parts)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def memory_words(size: int) -> str:
    """A size in bytes with the unit that leaves less than 1024: ``62.3 GiB``.

    >>> memory_words(66881077248)
    '62.3 GiB'
    """
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def _table() -> Table:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 (see show)
    from rich.table import Table  # noqa: PLC0415

    return Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")


def _node_table(topology: Topology) -> RenderableType:
    from ..view.lists import AtCommas  # noqa: PLC0415 (see show)

    table = _table()
    table.add_column("Node", justify="right", no_wrap=True)
    table.add_column("Kind", no_wrap=True)
    table.add_column("Memory", justify="right", no_wrap=True)
    table.add_column("CPUs", overflow="fold")
    for run in _runs(topology.nodes):
        first = run[0]
        empty = not first.cpus and not first.memory_bytes
        known = first.memory_bytes or first.kind in ("cpu-only", "gpu-memory")
        table.add_row(
            format_cpulist(node.id for node in run),
            first.kind,
            "-" if empty else memory_words(first.memory_bytes) if known else "?",
            AtCommas(format_cpulist(first.cpus) or "-"),
            style=_KIND_STYLES[first.kind],
        )
    return table


def _runs(nodes: Sequence[Node]) -> Iterator[list[Node]]:
    """The nodes one by one, but empty GPU memory nodes together: Grace has dozens of them."""
    empty: list[Node] = []
    for node in nodes:
        if node.cpus or node.memory_bytes or node.kind != "gpu-memory":
            if empty:
                yield empty
            empty = []
            yield [node]
        else:
            empty.append(node)
    if empty:
        yield empty


def _distance_parts(topology: Topology, width: int) -> Iterator[RenderableType]:
    """A matrix if it fits, else one line per node; nodes without CPUs and memory are left out."""
    shown = [i for i, node in enumerate(topology.nodes) if node.cpus or node.memory_bytes]
    if len(shown) < 2:
        return
    if len(shown) > _MATRIX_NODES or 10 + 6 * len(shown) > width:
        yield _grouped_distances(topology, shown)
        return
    table = _table()
    table.add_column("Distance", justify="right", style="bold")
    for j in shown:
        table.add_column(str(topology.nodes[j].id), justify="right", no_wrap=True)
    for i in shown:
        row = (topology.distances[i][j] for j in shown)
        table.add_row(str(topology.nodes[i].id), *(_distance_text(distance) for distance in row))
    yield table


def _distance_text(distance: int) -> Text:
    from rich.text import Text  # noqa: PLC0415 (see show)

    style = "bold green" if distance == 10 else "red" if distance >= 30 else ""
    return Text(str(distance), style=style)


def _grouped_distances(topology: Topology, shown: Sequence[int]) -> RenderableType:
    table = _table()
    table.add_column("From node", justify="right", no_wrap=True)
    table.add_column("Distance: to nodes", overflow="fold")
    for i in shown:
        row = topology.distances[i]
        groups = (
            f"{distance}: {format_cpulist(topology.nodes[j].id for j in shown if row[j] == distance)}"
            for distance in sorted({row[j] for j in shown})
        )
        table.add_row(str(topology.nodes[i].id), "   ".join(groups))
    return table


def _gpu_parts(topology: Topology, width: int) -> Iterator[RenderableType]:
    if not topology.gpus:
        yield "No GPU found."
    elif width < _NARROW:
        yield from (_gpu_lines(gpu) for gpu in topology.gpus)
    else:
        yield _gpu_table(topology.gpus)


def _gpu_table(gpus: Sequence[Gpu]) -> RenderableType:
    """One row per GPU; a column that would be empty is left out."""
    from ..view.lists import AtCommas  # noqa: PLC0415 (see show)

    models = {_name(gpu) for gpu in gpus}
    with_memory = any(gpu.node is not None and gpu.memory_nodes != (gpu.node,) for gpu in gpus)
    with_index = any(gpu.index is not None for gpu in gpus)
    table = _table()
    if len(models) == 1:
        table.title = _literal(f"{len(gpus)} x {models.pop()}")
        table.title_justify = "left"
    table.add_column("GPU", no_wrap=True)
    for name, shown in (("Minor", True), ("Slurm", with_index), ("Node", True), ("Memory", with_memory)):
        if shown:
            table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Known by", no_wrap=True)
    table.add_column("CPUs", overflow="fold")
    if models:
        table.add_column("Model", overflow="fold")
    for gpu in gpus:
        cells: list[RenderableType] = [gpu.bdf, _known(gpu.minor)]
        cells += [_known(gpu.index)] if with_index else []
        cells += [_known(gpu.node)]
        cells += [format_cpulist(gpu.memory_nodes) or "-"] if with_memory else []
        cells += [gpu.source, AtCommas(format_cpulist(gpu.cpus) or "-")]
        cells += [_literal(_name(gpu))] if models else []
        table.add_row(*cells, style=_SOURCE_STYLES.get(gpu.source, ""))
    return table


def _gpu_lines(gpu: Gpu) -> RenderableType:
    """The same for a terminal that is too narrow for a table."""
    from rich.text import Text  # noqa: PLC0415 (see show)

    style = _SOURCE_STYLES.get(gpu.source, "")
    text = Text.assemble((f"GPU {gpu.bdf}", "bold"), f"  {_name(gpu)}\n")
    memory = format_cpulist(gpu.memory_nodes) or "-"
    text.append(f"  node {_known(gpu.node)} (by {gpu.source}), memory of node {memory}\n", style)
    text.append(f"  CPUs {format_cpulist(gpu.cpus) or '-'}\n")
    text.append(f"  minor {_known(gpu.minor)}, Slurm's index {_known(gpu.index)}")
    return text


def _known(number: Optional[int]) -> str:
    return "-" if number is None else str(number)


def _name(gpu: Gpu) -> str:
    return gpu.model or f"{gpu.vendor} GPU"


def _literal(text: str) -> Text:
    """Text in which brackets are literal, as the name of a model may contain some."""
    from rich.text import Text  # noqa: PLC0415 (see show)

    return Text(text)
