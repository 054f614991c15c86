"""A machine as a drawing (SVG): nodes, cores by cache, GPUs, links, and who holds which core.

Drawn with the standard library's XML writer: what is needed are rectangles, lines and text. Tasks have
colours that stay apart in print, and their number on every core, so that the drawing reads in grey.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ..errors import RequestError
from ..topology.model import Core, Node, Topology

if TYPE_CHECKING:
    from ..placement.plan import Plan

#: Okabe and Ito's colours, which people with any colour vision can tell apart, lightened for black text.
_COLOURS = ("#8ecae6", "#f2b880", "#95d5b2", "#f4e285", "#cdb4db", "#f4a3a3", "#a3c4f3", "#d9d9d9")
_BOX, _GAP, _PAD, _PER_ROW = 26, 4, 12, 16
_WIDTH = _PER_ROW * (_BOX + _GAP) + 2 * _PAD


@dataclass(frozen=True)
class Holder:
    """Who has some CPUs and GPUs: ``name`` stands on each core, ``gpus`` are PCI addresses."""

    name: str
    cpus: tuple[int, ...]
    gpus: tuple[str, ...] = ()


class _Drawing:
    """Elements below a root of a size that grows with them."""

    def __init__(self) -> None:
        self.root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg"})
        self.root.set("font-family", "DejaVu Sans, Helvetica, Arial, sans-serif")

    def box(self, x: float, y: float, width: float, height: float, fill: str, **more: str) -> None:
        attributes = {"x": x, "y": y, "width": width, "height": height, "fill": fill, "stroke": "#333333"}
        self._add("rect", {**attributes, **more})

    def text(self, x: float, y: float, words: str, size: int = 12, **more: str) -> None:
        element = self._add("text", {"x": x, "y": y, "font-size": size, **more})
        element.text = words

    def line(self, start: tuple[float, float], end: tuple[float, float], width: float = 1) -> None:
        ends = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
        self._add("line", {**ends, "stroke": "#333333", "stroke_width": width})

    def title(self, words: str) -> None:
        self._add("title", {}).text = words

    def _add(self, tag: str, attributes: Mapping[str, object]) -> ElementTree.Element:
        said = {name.replace("_", "-"): str(value) for name, value in attributes.items()}
        return ElementTree.SubElement(self.root, tag, said)

    def finish(self, width: float, height: float) -> str:
        """The text of the file."""
        self.root.set("width", str(width))
        self.root.set("height", str(height))
        self.root.set("viewBox", f"0 0 {width} {height}")
        return ElementTree.tostring(self.root, encoding="unicode") + "\n"


def draw(topology: Topology, holders: Sequence[Holder] = ()) -> str:
    """The machine, with the cores and GPUs of ``holders`` in their colours."""
    drawing = _Drawing()
    drawing.title("NUMA nodes, cores and GPUs")
    y, middles = float(_PAD), []
    for node in topology.nodes:
        gpus = [gpu for gpu in topology.gpus if gpu.node == node.id]
        if not node.cpus and not gpus:
            continue
        height = _node(drawing, topology, node, y, holders)
        middles.append((node.id, y + height / 2))
        y += height + 2 * _PAD
    _links(drawing, topology, middles)
    lost = [gpu.bdf for gpu in topology.gpus if gpu.node is None]
    if lost:
        drawing.text(_PAD, y + _PAD, f"on no known node: {', '.join(lost)}")
        y += 2 * _PAD
    for number, holder in enumerate(holders):
        drawing.box(_PAD, y, _BOX, 16, _colour(number))
        gpus_text = f"  GPU {', '.join(holder.gpus)}" if holder.gpus else ""
        drawing.text(_PAD + _BOX + _GAP, y + 13, f"{holder.name}{gpus_text}")
        y += 20
    return drawing.finish(_WIDTH + 90, y + _PAD)


def draw_plan(topology: Topology, plan: Plan) -> str:
    """The machine with the tasks of a plan on it."""
    return draw(
        topology,
        [
            Holder(f"task {task}", placed.cpus, tuple(topology.gpus[gpu].bdf for gpu in placed.gpus))
            for task, placed in enumerate(plan.placements)
        ],
    )


def draw_processes(topology: Topology, processes: Iterable[tuple[int, tuple[int, ...]]]) -> str:
    """The machine with running processes on it; a core of several shows how many."""
    return draw(topology, [Holder(str(pid), cpus) for pid, cpus in processes])


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _node(drawing: _Drawing, topology: Topology, node: Node, top: float, holders: Sequence[Holder]) -> float:
    """A node's box at ``top``; returns its height."""
    cores = [core for core in topology.cores if core.node == node.id]
    gpus = [gpu for gpu in topology.gpus if gpu.node == node.id]
    rows = sum(-(-len(cache) // _PER_ROW) for cache in _caches(cores))
    height = 24 + rows * (_BOX + _GAP + 4) + len(gpus) * (_BOX + _GAP) + _PAD
    drawing.box(_PAD / 2, top, _WIDTH, height, "#ffffff", stroke_width="1.5", rx="4")
    packages = ",".join(sorted({str(core.package) for core in cores if core.package >= 0}))
    words = f"node {node.id}" + (f" · package {packages}" if packages else "")
    if node.memory_bytes:
        words += f" · {node.memory_bytes / 2**30:.0f} GiB"
    drawing.text(_PAD, top + 17, words, 13, font_weight="bold")
    y = top + 24
    for cache in _caches(cores):
        lines = -(-len(cache) // _PER_ROW)
        width = min(len(cache), _PER_ROW) * (_BOX + _GAP) + _GAP
        drawing.box(_PAD - _GAP, y, width, lines * (_BOX + _GAP) + 2, "#f4f4f4", stroke="#999999")
        for i, core in enumerate(cache):
            x = _PAD + i % _PER_ROW * (_BOX + _GAP)
            _core(drawing, core, x, y + 3 + i // _PER_ROW * (_BOX + _GAP), holders)
        y += lines * (_BOX + _GAP) + 4
    for gpu in gpus:
        using = [number for number, holder in enumerate(holders) if gpu.bdf in holder.gpus]
        drawing.line((_PAD, y), (_PAD, y + _BOX / 2 + 2))
        drawing.line((_PAD, y + _BOX / 2 + 2), (_PAD + 14, y + _BOX / 2 + 2))
        drawing.box(_PAD + 14, y + 4, _WIDTH - 5 * _PAD, _BOX - 4, _colour(using[0]) if using else "#ffffff")
        name = "GPU" if gpu.index is None else f"GPU {gpu.index}"
        users = " · " + ", ".join(holders[number].name for number in using) if using else ""
        drawing.text(_PAD + 20, y + 20, f"{name}  {gpu.bdf}  {gpu.model or ''}{users}", 11)
        y += _BOX + _GAP
    return height


def _caches(cores: Sequence[Core]) -> list[list[Core]]:
    caches: dict[int, list[Core]] = {}
    for core in cores:
        caches.setdefault(core.llc, []).append(core)
    return list(caches.values())


def _core(drawing: _Drawing, core: Core, x: float, y: float, holders: Sequence[Holder]) -> None:
    mine = [number for number, holder in enumerate(holders) if not set(core.cpus).isdisjoint(holder.cpus)]
    fill = "#ffffff" if not mine else _colour(mine[0]) if len(mine) == 1 else "#bbbbbb"
    drawing.box(x, y, _BOX, _BOX - 4, fill)
    label = str(core.cpus[0]) if not mine else holders[mine[0]].name if len(mine) == 1 else f"{len(mine)}x"
    short = label.rpartition(" ")[2]
    size = 10 if len(short) < 4 else 40 // len(short)
    drawing.text(x + _BOX / 2, y + 15, short, size, text_anchor="middle")


def _links(drawing: _Drawing, topology: Topology, middles: Sequence[tuple[int, float]]) -> None:
    """A line between neighbours in the drawing, with their distance (SLIT)."""
    order = {node.id: i for i, node in enumerate(topology.nodes)}
    x = _WIDTH + _PAD
    for (a, upper), (b, lower) in zip(middles, middles[1:]):
        drawing.line((_WIDTH + _PAD / 2, upper), (x + 8, upper))
        drawing.line((x + 8, upper), (x + 8, lower), 2)
        drawing.line((_WIDTH + _PAD / 2, lower), (x + 8, lower))
        words = f"{a}–{b}: {topology.distances[order[a]][order[b]]}"  # noqa: RUF001
        drawing.text(x + 12, (upper + lower) / 2, words, 11)


def write(path: str, text: str) -> None:
    """Write a drawing. Raises RequestError."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot write {path}: {error.strerror}") from error
