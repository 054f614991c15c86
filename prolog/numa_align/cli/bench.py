"""``numa-align bench``: what near and far cost on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import click

from .. import __version__
from ..errors import BindError, RequestError
from ..topology.read import read_here

if TYPE_CHECKING:
    from rich.table import Table

    from ..bench.gpu_copies import Copy, Toolkit
    from ..bench.host_memory import Cell, Effort
    from ..bench.nic_writes import Write
    from ..topology.model import Nic, Topology


class _Measured(NamedTuple):
    cells: list[Cell]
    copies: list[Copy]
    writes: list[Write]


@click.command(
    short_help="Measure memory and copies, near and far.", epilog="Example: numa-align bench --quick"
)
@click.option(
    "--quick", is_flag=True, help="Use small buffers: takes seconds instead of a minute, with more noise."
)
@click.option("--no-gpus", is_flag=True, help="Leave out the GPUs.")
@click.option("--no-nics", is_flag=True, help="Leave out the network cards.")
@click.option(
    "--toolkit",
    type=click.Choice(["torch", "cupy"]),
    help="Toolkit for the GPUs.  [default: what is installed]",
)
@click.option("--plot", metavar="FILE", help="Draw a heat map (PNG, PDF or SVG); needs matplotlib.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/users.md has the schema.")
def command(
    *,
    quick: bool,
    no_gpus: bool,
    no_nics: bool,
    toolkit: Optional[str],
    plot: Optional[str],
    as_json: bool,
) -> None:
    """Measure bandwidth and latency from each node's CPUs to each node's memory, copies to each GPU, and
    writes through each InfiniBand or RoCE card.

    Copies need PyTorch or CuPy, writes perftest (ib_write_bw). Run it on an idle machine or with a whole node
    (srun --exclusive).
    Exit status: 0, or 2 if nothing can be measured.
    """
    try:
        from ..bench.gpu_copies import toolkit_of  # noqa: PLC0415
        from ..bench.host_memory import Effort  # noqa: PLC0415
    except ImportError as error:
        raise RequestError(f"bench needs numpy ({error}); install it, as in `pip install numpy`") from error
    from ..bench.as_json import local_to_remote, to_json  # noqa: PLC0415
    from ..bench.nic_writes import measurable  # noqa: PLC0415

    draw = _drawer(plot)
    topology = read_here()
    found = toolkit_of(toolkit) if topology.gpus and not no_gpus else None
    if found is None and (toolkit or topology.gpus) and not no_gpus:
        names = toolkit or "PyTorch or CuPy"
        click.echo(f"numa-align: copies are not measured: there is no {names} here that sees a GPU", err=True)
    name, kit = found or (None, None)
    nics = [] if no_nics else measurable(topology)
    done = _measure(topology, Effort.quick() if quick else Effort(), kit, nics)
    ratio = local_to_remote(done.cells)
    if as_json:
        click.echo(json.dumps(to_json(*done, ratio, name), indent=1))
    else:
        _print(done, ratio)
    if draw is not None:
        draw(done.cells)


def _measure(
    topology: Topology, effort: Effort, toolkit: Optional[Toolkit], nics: Sequence[Nic]
) -> _Measured:
    """Measure everything, with a progress bar on stderr."""
    from ..bench.gpu_copies import measure_gpu, numbered  # noqa: PLC0415
    from ..bench.host_memory import measure_memory, pairs  # noqa: PLC0415
    from ..bench.nic_writes import measure_nic  # noqa: PLC0415
    from ..view.progress import progress  # noqa: PLC0415

    allowed = tuple(os.sched_getaffinity(0))
    todo = pairs(topology, allowed)
    nodes = {cpu.id: cpu for cpu, _ in todo if cpu.memory_bytes}.values()
    cpus_of = {node.id: tuple(sorted(set(node.cpus) & set(allowed))) for node in nodes}
    gpus = numbered(toolkit, topology) if toolkit else []
    measured = _Measured([], [], [])
    total = len(todo) + len(nodes) * (len(gpus) + len(nics))
    begun, failed = count(), []
    with progress("measuring") as tell:

        def now(what: str) -> None:
            tell(next(begun), total, what)

        try:
            for cpu, memory in todo:
                now(f"CPUs of node {cpu.id}, memory of node {memory.id}")
                measured.cells.append(measure_memory(cpu, memory, allowed, effort))
            for node, which in product(nodes, gpus):
                now(f"node {node.id}, GPU {which[1].bdf}")
                assert toolkit is not None  # else there are no gpus
                measured.copies.append(measure_gpu(toolkit, which, node, cpus_of[node.id], effort))
            for node, nic in product(nodes, nics):
                now(f"node {node.id}, {nic.name}")
                try:
                    measured.writes.append(measure_nic(nic, node, cpus_of[node.id], effort))
                except RequestError as error:
                    failed.append(f"node {node.id}, {nic.name}: {error}")
        except BindError as error:
            raise RequestError(f"nothing can be measured: {error}") from error
    for failure in failed:
        click.echo(f"numa-align: not measured: {failure}", err=True)
    return measured


def _print(measured: _Measured, ratio: Optional[float]) -> None:
    from ..view.lists import console_here  # noqa: PLC0415

    cells, copies, writes = measured
    console = console_here()
    console.print(_title())
    if ratio is None:
        console.print("One NUMA node: nothing is far.")
    else:
        console.print(f"local : remote memory bandwidth = {ratio}")
    rows = [
        (
            cell.cpu_node,
            cell.memory_node,
            f"{cell.bandwidth_gb_s:.1f}",
            "-" if cell.latency_ns is None else f"{cell.latency_ns:.0f}",
        )
        for cell in cells
    ]
    console.print(_table(("CPUs of node", "Memory of node", "GB/s", "Latency ns"), rows))
    if any(cell.latency_ns is None for cell in cells):
        console.print("-: the runs did not agree within a tenth; the machine was busy.")
    if copies:
        names = ("Node", "GPU", "Pinned to GPU", "to host", "Pageable to GPU", "to host", "Launch us", "99 %")
        console.print(_table(names, map(dataclasses.astuple, copies)))
        console.print(
            "Copies in GB/s; launch: until a kernel without work is done, median and 99th percentile."
        )
    if writes:
        console.print(_table(("Node", "Network card", "GB/s"), map(dataclasses.astuple, writes)))
        console.print("RDMA writes from memory of the node through the card to itself.")


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*map(str, row))
    return table


def _title() -> str:
    return f"Memory of {os.uname().nodename}, measured by numa-align {__version__}"


def _can_be_drawn(file: Path, kinds: Iterable[str]) -> None:
    """Raises RequestError for a file that could not be written after the measurement."""
    if file.suffix[1:].lower() not in kinds:
        raise RequestError(f"cannot draw {file}: its name ends in none of {', '.join(sorted(kinds))}")
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise RequestError(f"cannot draw {file}: it cannot be written; is the folder there, and yours?")


def _place(cell: Cell) -> tuple[int, int]:
    return cell.cpu_node, cell.memory_node


def _draw_map(axes: Any, values: Mapping[tuple[int, int], Optional[float]], what: str) -> None:
    """One of the two maps; its colours begin at 0, so that half the value looks like half."""
    rows, columns = (sorted({place[i] for place in values}) for i in (0, 1))
    grid = [[values.get((row, column)) for column in columns] for row in rows]
    known = [value for value in values.values() if value is not None]
    numbers = [[float("nan") if value is None else value for value in line] for line in grid]
    image = axes.imshow(numbers, cmap="viridis", vmin=0, vmax=max(known, default=1))
    axes.set_title(what)
    axes.set_xticks(range(len(columns)), [str(node) for node in columns])
    axes.set_yticks(range(len(rows)), [str(node) for node in rows])
    axes.set_xlabel("memory of node")
    axes.set_ylabel("CPUs of node")
    for i, line in enumerate(grid):
        for j, value in enumerate(line):
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1}
            words = "-" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"
            axes.text(j, i, words, ha="center", va="center", bbox=box)
    axes.figure.colorbar(image, ax=axes, shrink=0.8)


def _drawer(plot: Optional[str]) -> Optional[Any]:
    """The library that draws the heat map; a missing one is reported before anything is measured."""
    if plot is None:
        return None
    try:
        import matplotlib  # noqa: PLC0415

        matplotlib.use("Agg")
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise RequestError(f"--plot needs matplotlib ({error}); `pip install matplotlib`") from error
    _can_be_drawn(Path(plot), Figure().canvas.get_supported_filetypes())

    def draw(cells: list[Cell]) -> None:
        columns, rows = len({cell.memory_node for cell in cells}), len({cell.cpu_node for cell in cells})
        size = (2 * max(4, 2 + 0.7 * columns), 2.4 + 0.7 * rows)
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(_title())
        left, right = figure.subplots(1, 2)
        _draw_map(left, {_place(cell): cell.bandwidth_gb_s for cell in cells}, "bandwidth, GB/s")
        _draw_map(right, {_place(cell): cell.latency_ns for cell in cells}, "latency, ns")
        try:
            figure.savefig(plot)
        except (OSError, ValueError) as error:
            raise RequestError(f"cannot draw {plot}: {error}") from error

    return draw
