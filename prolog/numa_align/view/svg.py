"""A machine as a drawing (SVG): packages, nodes, caches, cores, threads, GPUs, cards, and who uses what.

Drawn with the standard library's XML writer, as only rectangles, lines and text are needed. A task has a
colour, a pattern if there are more tasks than colours, and its number on every core, so that the drawing
is readable in grey. No colour of a task is also the colour of a state.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Optional
from xml.etree import ElementTree

from .. import __version__
from ..cpulist import format_cpulist
from ..errors import RequestError
from ..sysfs import one_line
from ..topology.model import Attached, Core, Gpu, Node, Topology
from ..topology.select import number_of
from .common import STATE_COLOURS

if TYPE_CHECKING:
    from ..placement.plan import Plan
    from ..process.of_job import Seen

#: Neighbours are distinct in grey, and all are light enough for black text.
COLOURS = ("#fdeebb", "#bfe3f5", "#f7b9a8", "#b9e69b", "#d9b3e6", "#8fb8de", "#d6a45c", "#5f9f92")
#: After the last colour they are used again with a pattern.
_PATTERNS = ("", "stripes", "dots", "crossed", "bars")
_SEVERAL, _FREE, _OUTSIDE, _PAPER, _INK = "#c9c9c9", "#ffffff", "#ededed", "#ffffff", "#222222"
_CORE, _GAP, _PAD, _LINE = 28, 4, 10, 18
_PER_ROW = 16
_PAGE = 1500
#: With more nodes than this, distances are described in words.
_MATRIX = 16


_NOTHING = Attached()
#: Left, top, width, height.
_Area = tuple[float, float, float, float]


@dataclass(frozen=True)
class Holder:
    """The user of some CPUs and GPUs: ``mark`` is on each core, ``label`` in the legend; PCI addresses."""

    mark: str
    label: str
    cpus: frozenset[int]
    gpus: tuple[str, ...] = ()
    state: Optional[str] = None
    #: A remark about it below the legend.
    reason: str = ""
    #: What the mark numbers: a task, or a process outside any task.
    kind: str = "task"


@dataclass(frozen=True)
class Picture:
    """What is drawn besides the machine.

    ``step`` are the CPUs that holders may have, None without a step. ``caches`` has the size of a
    last-level cache by its lowest CPU, in bytes.
    """

    title: str
    holders: tuple[Holder, ...] = ()
    step: Optional[frozenset[int]] = None
    attached: Attached = _NOTHING
    caches: Mapping[int, int] = field(default_factory=dict)


def heading(host: Optional[str]) -> str:
    """Host, command line and version, so that a drawing explains itself when it is found later."""
    words = " - ".join([*([host] if host else []), f"numa-align {__version__}", shlex.join(sys.argv[1:])])
    # XML does not allow control characters, and the picture has no room for a longer line.
    words = "".join(character if character.isprintable() else "?" for character in words)
    return words if len(words) <= 150 else f"{words[:146]} ..."


class _Drawing:
    """Elements below a root that grows with them."""

    def __init__(self) -> None:
        self.root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg"})
        self.root.set("font-family", "DejaVu Sans, Helvetica, Arial, sans-serif")
        self.right = self.bottom = 0.0
        self._into = self.root

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, **more: str
    ) -> ElementTree.Element:
        attributes = {"x": _round(x), "y": _round(y), "width": _round(width), "height": _round(height)}
        self.right, self.bottom = max(self.right, x + width), max(self.bottom, y + height)
        return self._add("rect", {**attributes, "fill": fill, "stroke": "#444444", **more})

    def text(self, x: float, y: float, words: str, size: float = 12, **more: str) -> None:
        element = self._add("text", {"x": _round(x), "y": _round(y), "font-size": size, "fill": _INK, **more})
        element.text = words
        if more.get("text_anchor") != "middle":
            self.right = max(self.right, x + width_of(words, size))
        self.bottom = max(self.bottom, y + 4)

    def tip(self, element: ElementTree.Element, words: str) -> None:
        """Add a tooltip."""
        ElementTree.SubElement(element, "title").text = words

    def patterns(self) -> None:
        """The patterns that overlay colours, and the one for CPUs outside the step."""
        definitions = self._add("defs", {})
        shapes = {
            "stripes": "M0,6 L6,0", "crossed": "M0,6 L6,0 M0,0 L6,6", "bars": "M3,0 L3,6",
            "outside": "M0,0 L6,6", "dots": "",
        }  # fmt: skip
        for name, path in shapes.items():
            size = {"id": name, "width": "6", "height": "6", "patternUnits": "userSpaceOnUse"}
            pattern = ElementTree.SubElement(definitions, "pattern", size)
            colour = "#bbbbbb" if name == "outside" else "#555555"
            if path:
                ElementTree.SubElement(pattern, "path", {"d": path, "stroke": colour, "stroke-width": "0.8"})
            else:
                ElementTree.SubElement(pattern, "circle", {"cx": "3", "cy": "3", "r": "1", "fill": colour})

    def _add(self, tag: str, attributes: Mapping[str, object]) -> ElementTree.Element:
        said = {name.replace("_", "-"): str(value) for name, value in attributes.items()}
        return ElementTree.SubElement(self._into, tag, said)

    def finish(self) -> str:
        """The text of the file."""
        width, height = round(self.right + _PAD), round(self.bottom + _PAD)
        paper = ElementTree.Element("rect", {"width": str(width), "height": str(height), "fill": _PAPER})
        self.root.insert(1, paper)
        self.root.set("width", str(width))
        self.root.set("height", str(height))
        self.root.set("viewBox", f"0 0 {width} {height}")
        return ElementTree.tostring(self.root, encoding="unicode") + "\n"


def _round(number: float) -> float:
    return round(number, 1)


def width_of(words: str, size: float) -> float:
    """The approximate width of a text, enough for the widest of the requested fonts."""
    return 0.64 * size * len(words)


def size_words(size: int) -> str:
    """``512 GiB``, ``32 MiB``."""
    for unit, name in ((40, "TiB"), (30, "GiB"), (20, "MiB")):
        if size >= 1 << unit:
            amount = size / (1 << unit)
            return f"{amount:.1f} {name}" if unit == 40 and amount % 1 else f"{amount:.0f} {name}"
    return f"{size >> 10} KiB"


def colour_of(number: int) -> tuple[str, str]:
    """Colour and pattern of the holder with this number."""
    return COLOURS[number % len(COLOURS)], _PATTERNS[number // len(COLOURS) % len(_PATTERNS)]


def draw(topology: Topology, picture: Picture) -> str:
    """The machine, with what its holders have in their colours."""
    drawing = _Drawing()
    title = ElementTree.SubElement(drawing.root, "title")
    title.text = picture.title
    drawing.patterns()
    drawing.text(_PAD, 20, picture.title, 13, font_weight="bold")
    _Machine(drawing, topology, picture).draw(_PAD, 32)
    y = drawing.bottom + 2 * _PAD
    y = _marks(drawing, picture, y)
    y = _legend(drawing, picture, y)
    _distances(drawing, topology, y + _PAD)
    return drawing.finish()


class _Machine:
    """Packages with their nodes, and below them the nodes outside any package."""

    def __init__(self, drawing: _Drawing, topology: Topology, picture: Picture) -> None:
        self._drawing, self._topology, self._picture = drawing, topology, picture
        self._holders_of: dict[int, list[int]] = {}
        for number, holder in enumerate(picture.holders):
            for cpu in holder.cpus:
                self._holders_of.setdefault(cpu, []).append(number)

    def draw(self, left: float, top: float) -> None:
        """Packages side by side in rows, as many as fit the page."""
        topology = self._topology
        packages: dict[int, list[Node]] = {}
        apart: list[Node] = []
        for node in topology.nodes:
            inside = sorted({core.package for core in topology.cores if core.node == node.id})
            if inside:
                packages.setdefault(inside[0], []).append(node)
            else:
                apart.append(node)
        x, y, row = left, top, top
        for package, nodes in sorted(packages.items()):
            columns = 2 if len(nodes) > 2 else 1
            width = columns * (max(self._width(node) for node in nodes) + _PAD) + _PAD
            if x > left and x + width > _PAGE:
                x, y = left, row + _PAD
            height = self._package(package, nodes, columns, x=x, y=y, width=width)
            row = max(row, y + height)
            x += width + _PAD
        self._apart(apart, left, row + _PAD)
        self._homeless(left)

    # -- Packages and nodes ------------------------------------------------------------------

    def _package(
        self, package: int, nodes: Sequence[Node], columns: int, *, x: float, y: float, width: float
    ) -> float:
        frame = self._drawing.box(x, y, width, 0, "#f7f7f7", stroke_width="1.5", rx="6")
        self._drawing.text(x + _PAD, y + 17, f"package {package}" if package >= 0 else "package unknown", 12)
        each = (width - _PAD) / columns
        heights = [y + 26.0] * columns
        for i, node in enumerate(nodes):
            column = i % columns
            height = self._node(node, x + _PAD + column * each, heights[column], each - _PAD)
            heights[column] += height + _PAD
        height = max(heights) - y
        frame.set("height", str(_round(height)))
        self._drawing.bottom = max(self._drawing.bottom, y + height)
        return height

    def _cores(self, node: Optional[int]) -> list[Core]:
        return [core for core in self._topology.cores if core.node == node]

    def _per_row(self, cores: Sequence[Core]) -> int:
        return min(_PER_ROW, max((len(cache) for cache in _caches(cores)), default=1))

    def _columns(self, cores: Sequence[Core]) -> int:
        """Number of caches side by side: small ones share a row."""
        width = self._per_row(cores) * (_CORE + _GAP) + 3 * _GAP
        return max(1, int((_PER_ROW * (_CORE + _GAP) + 3 * _GAP) // width))

    def _width(self, node: Node) -> float:
        """The width of a node's box: its cores, and room for the lines about its devices."""
        cores = self._cores(node.id)
        caches = len(_caches(cores))
        columns = min(self._columns(cores), max(caches, 1))
        grid = columns * (self._per_row(cores) * (_CORE + _GAP) + 3 * _GAP)
        lines = [width_of(words, 11) + 2 * _PAD for words in self._device_words(node.id)]
        return max(grid + 2 * _PAD, *lines, 230)

    def _node(self, node: Node, x: float, y: float, width: float) -> float:
        drawing, start = self._drawing, y
        frame = drawing.box(x, y, width, 0, _PAPER, stroke_width="1.2", rx="4")
        drawing.text(x + _PAD, y + 16, self._title(node), 12, font_weight="bold")
        y = self._core_grid(self._cores(node.id), x + _PAD, y + 24)
        y = self._devices(node.id, x + _PAD, y, width - 2 * _PAD)
        height = y - start + _GAP
        frame.set("height", str(_round(height)))
        drawing.bottom = max(drawing.bottom, start + height)
        return height

    def _title(self, node: Node) -> str:
        memory = f", {size_words(node.memory_bytes)}" if node.memory_bytes else ", no memory"
        kinds = {"memory": ", memory without CPUs", "gpu-memory": ", memory of a GPU"}
        return f"node {node.id}{memory}{kinds.get(node.kind, '')}"

    def _core_grid(self, cores: Sequence[Core], left: float, top: float) -> float:
        caches = _caches(cores)
        per_row, columns = self._per_row(cores), self._columns(cores)
        width = per_row * (_CORE + _GAP) + 2 * _GAP
        y = top
        for first in range(0, len(caches), columns):
            row = caches[first : first + columns]
            lines = max(-(-len(cache) // per_row) for cache in row)
            height = lines * (_CORE + _GAP) + _GAP + 12
            for column, cache in enumerate(row):
                x = left + column * (width + _GAP)
                self._cache(cache, x, y, width=width, height=height, per_row=per_row)
            y += height + _GAP
        return y

    def _cache(
        self, cache: Sequence[Core], x: float, y: float, *, width: float, height: float, per_row: int
    ) -> None:
        drawing = self._drawing
        drawing.box(x, y, width, height, "#f4f4f4", stroke="#aaaaaa")
        size = self._picture.caches.get(cache[0].llc)
        if size:
            words = f"cache {size_words(size)}"
            words = words if width_of(words, 8) <= width else size_words(size)
            drawing.text(x + _GAP, y + 10, words, 8)
        for i, core in enumerate(cache):
            column, row = i % per_row, i // per_row
            self._core(core, x + _GAP + column * (_CORE + _GAP), y + 12 + row * (_CORE + _GAP))

    def _core(self, core: Core, x: float, y: float) -> None:
        """The mark of its holder; below, a strip for each thread that has a sibling."""
        drawing, picture = self._drawing, self._picture
        mine = sorted({number for cpu in core.cpus for number in self._holders_of.get(cpu, ())})
        inside = picture.step is None or not picture.step.isdisjoint(core.cpus)
        names = ", ".join(picture.holders[number].label for number in mine[:4]) + (
            ", ..." if len(mine) > 4 else ""
        )
        if len(mine) == 2:
            self._halves(mine, x, y)
            box = drawing.box(x, y, _CORE, _CORE, "none", pointer_events="all")
        else:
            box = self._filled((x, y, _CORE, _CORE), mine, inside=inside)
        drawing.tip(
            box, f"CPUs {format_cpulist(core.cpus)}: {names or ('nobody' if inside else 'not in the step')}"
        )
        if len(core.cpus) > 1:
            self._threads(core, x, y + _CORE - 6)
        if len(mine) == 2:
            pass
        elif mine:
            words = picture.holders[mine[0]].mark if len(mine) == 1 else f"{len(mine)}x"
            size = 11.0 if len(words) < 3 else 9.5 if len(words) < 4 else 34 / len(words)
            drawing.text(x + _CORE / 2, y + 15, words, _round(size), text_anchor="middle", font_weight="bold")
        elif picture.step is None:
            words = str(core.cpus[0])
            size = 9.0 if len(words) < 4 else 30 / len(words)
            drawing.text(x + _CORE / 2, y + 15, words, _round(size), text_anchor="middle", fill="#666666")

    def _halves(self, mine: Sequence[int], x: float, y: float) -> None:
        """A core that two holders share: the colour and the mark of each."""
        for i, number in enumerate(mine):
            self._filled((x + i * _CORE / 2, y, _CORE / 2, _CORE), [number], stroke_width="0.6")
            words = self._picture.holders[number].mark
            size = min(10.0, 18 / max(len(words), 1))
            self._drawing.text(x + (i + 0.5) * _CORE / 2, y + 15, words, _round(size), text_anchor="middle")

    def _threads(self, core: Core, x: float, y: float) -> None:
        step, width = self._picture.step, _CORE / len(core.cpus)
        for i, cpu in enumerate(core.cpus):
            mine, inside = self._holders_of.get(cpu, []), step is None or cpu in step
            self._filled((x + i * width, y, width, 6), mine, inside=inside, stroke_width="0.6")

    def _filled(
        self,
        area: tuple[float, float, float, float],
        mine: Sequence[int],
        *,
        inside: bool = True,
        **more: str,
    ) -> ElementTree.Element:
        drawing, (x, y, width, height) = self._drawing, area
        if not mine:
            more = {"stroke": "#999999", **more}
            box = drawing.box(x, y, width, height, _FREE if inside else _OUTSIDE, **more)
            if not inside:
                drawing.box(x, y, width, height, "url(#outside)", stroke="none")
            return box
        if len(mine) > 1:
            return drawing.box(x, y, width, height, _SEVERAL, **more)
        colour, pattern = colour_of(mine[0])
        box = drawing.box(x, y, width, height, colour, **more)
        if pattern:
            drawing.box(x, y, width, height, f"url(#{pattern})", stroke="none", opacity="0.5")
        return box

    # -- Devices -----------------------------------------------------------------------------

    def _gpus(self, node: Optional[int]) -> list[tuple[int, Gpu]]:
        return [(i, gpu) for i, gpu in enumerate(self._topology.gpus) if gpu.node == node]

    def _users(self, gpu: Gpu) -> list[int]:
        return [number for number, holder in enumerate(self._picture.holders) if gpu.bdf in holder.gpus]

    def _gpu_words(self, position: int, gpu: Gpu) -> str:
        users = [self._picture.holders[number] for number in self._users(gpu)]
        words = f"GPU {number_of(self._topology.gpus, position)}  {gpu.bdf}"
        if gpu.model:
            words += f"  {one_line(gpu.model)}"
        if users:
            plural = "" if len(users) == 1 else "es" if users[0].kind.endswith("s") else "s"
            words += f" - {users[0].kind}{plural} {', '.join(holder.mark for holder in users[:8])}"
        return words + (", ..." if len(users) > 8 else "")

    def _card_words(self, node: Optional[int]) -> list[str]:
        """Network cards, with the GPUs behind the same bridge, which is what matters about them."""
        lines = []
        for nic in self._picture.attached.nics:
            if nic.node != node or nic.physical is not None:
                continue
            near = [
                str(number_of(self._topology.gpus, i))
                for i, path in enumerate(nic.paths)
                if path in ("PIX", "PXB")
            ]
            state = "" if nic.up is None else ", up" if nic.up else ", down"
            beside = f", next to GPU {', '.join(near)}" if near else ""
            lines.append(f"{one_line(nic.name or nic.bdf)}  {nic.kind}{state}{beside}")
        return lines

    def _device_words(self, node: Optional[int]) -> list[str]:
        return [*(self._gpu_words(i, gpu) for i, gpu in self._gpus(node)), *self._card_words(node)]

    def _devices(self, node: Optional[int], x: float, y: float, width: float) -> float:
        drawing = self._drawing
        for position, gpu in self._gpus(node):
            # A GPU of several tasks has all their colours, as far as they are visible.
            users: list[Optional[int]] = [*self._users(gpu)[:12]] or [None]
            for i, user in enumerate(users):
                part = width / len(users)
                mine = [] if user is None else [user]
                self._filled((x + i * part, y, part, 20), mine, stroke="none")
            drawing.box(x, y, width, 20, "none", stroke_width="1.2")
            drawing.text(x + 6, y + 14, self._gpu_words(position, gpu), 11)
            y += 24
        for words in self._card_words(node):
            drawing.box(x, y, width, 18, _PAPER, stroke_dasharray="4 2", rx="8")
            drawing.text(x + 8, y + 13, words, 10)
            y += 22
        return y

    # -- What is in no package ---------------------------------------------------------------

    def _apart(self, nodes: Sequence[Node], left: float, y: float) -> None:
        """Memory without CPUs and memory of GPUs; empty nodes share one box."""
        empty = [node.id for node in nodes if not node.memory_bytes and not self._gpus(node.id)]
        x = left
        for node in nodes:
            if node.id in empty:
                continue
            width = max(width_of(self._title(node), 12) + 2 * _PAD, self._width(node))
            if x > left and x + width > _PAGE:
                x, y = left, self._drawing.bottom + _PAD
            self._node(node, x, y, width)
            x += width + _PAD
        if empty:
            y = self._drawing.bottom + _LINE
            self._drawing.text(
                left, y, f"nodes {format_cpulist(empty)}: without memory and CPUs (kept for GPUs)", 11
            )

    def _homeless(self, left: float) -> None:
        """Cores, GPUs and cards whose node is unknown."""
        cores = self._cores(None)
        if not cores and not self._device_words(None):
            return
        y = self._drawing.bottom + 2 * _PAD
        self._drawing.text(left, y, "on no known node:", 12, font_weight="bold")
        if cores:
            y = self._core_grid(cores, left, y + 8)
        words = self._device_words(None)
        if words:
            self._devices(None, left, y + 8, max(width_of(word, 11) + 2 * _PAD for word in words))


def _caches(cores: Sequence[Core]) -> list[list[Core]]:
    caches: dict[int, list[Core]] = {}
    for core in cores:
        caches.setdefault(core.llc, []).append(core)
    return list(caches.values())


# -- Below the machine -----------------------------------------------------------------------


def _marks(drawing: _Drawing, picture: Picture, y: float) -> float:
    """The meaning of the fills."""
    if picture.step is None:
        drawing.text(_PAD, y, "Numbers on cores are CPUs (the lowest of each core).", 11)
        return y + _LINE
    x = float(_PAD)
    meanings = ((_FREE, "in the step, idle"), (_OUTSIDE, "not in the step"), (_SEVERAL, "of several (N x)"))
    kinds = " or ".join(dict.fromkeys(f"{holder.kind}" for holder in picture.holders)) or "task"
    words = f"The number on a core is that of its {kinds}."
    drawing.text(x, y, words, 11)
    x += width_of(words, 11) + 20
    for fill, words in meanings:
        drawing.box(x, y - 11, 14, 14, fill)
        if fill == _OUTSIDE:
            drawing.box(x, y - 11, 14, 14, "url(#outside)", stroke="none")
        drawing.text(x + 20, y, words, 11)
        x += 40 + width_of(words, 11)
    return y + _LINE


def _legend(drawing: _Drawing, picture: Picture, top: float) -> float:
    """A line per holder, in as many columns as the page has, then remarks about them."""
    holders = picture.holders
    if not holders:
        return top
    labels = max(width_of(holder.label, 11) for holder in holders)
    widest = labels + 150
    columns = max(1, min(int(max(_PAGE, drawing.right) // widest), -(-len(holders) // 8)))
    rows = -(-len(holders) // columns)
    for number, holder in enumerate(holders):
        x, y = _PAD + number // rows * widest, top + number % rows * _LINE + 6
        colour, pattern = colour_of(number)
        drawing.box(x, y - 12, 26, 15, colour)
        if pattern:
            drawing.box(x, y - 12, 26, 15, f"url(#{pattern})", stroke="none", opacity="0.5")
        drawing.text(x + 13, y, holder.mark, 10, text_anchor="middle", font_weight="bold")
        drawing.text(x + 34, y, holder.label, 11)
        if holder.state:
            at = x + 42 + labels
            drawing.box(at, y - 11, 12, 12, STATE_COLOURS.get(holder.state, _FREE), rx="6")
            drawing.text(at + 17, y, holder.state, 11)
    y = top + rows * _LINE + _PAD
    for words in _reasons(holders):
        for line in wrap(words, int(max(drawing.right, 700) / (0.64 * 11))):
            drawing.text(_PAD, y, line, 11)
            y += 15
    return y


def _reasons(holders: Sequence[Holder]) -> Iterator[str]:
    """Each reason once, with the holders it applies to."""
    said: dict[str, list[Holder]] = {}
    for holder in holders:
        if holder.reason:
            said.setdefault(holder.reason, []).append(holder)
    for reason, those in said.items():
        kind = those[0].kind
        plural = "" if len(those) == 1 else "es" if kind.endswith("s") else "s"
        yield f"{kind}{plural} {format_cpulist(int(holder.mark) for holder in those)}: {reason}"


def _distances(drawing: _Drawing, topology: Topology, y: float) -> None:
    """All distances between nodes that are not empty."""
    shown = [i for i, node in enumerate(topology.nodes) if node.cpus or node.memory_bytes]
    if len(shown) < 2:
        return
    drawing.text(_PAD, y + 12, "Distances between nodes (10: the same)", 11, font_weight="bold")
    y += 20
    if len(shown) > _MATRIX:
        for i in shown:
            row = topology.distances[i]
            groups = "  ".join(
                f"{distance}: {format_cpulist(topology.nodes[j].id for j in shown if row[j] == distance)}"
                for distance in sorted({row[j] for j in shown})
            )
            drawing.text(_PAD, y + 10, f"node {topology.nodes[i].id}  {groups}", 10)
            y += 14
        return
    width, height = 28, 16

    def head(x: float, y: float, node: int) -> None:
        drawing.text(x, y, str(node), 10, text_anchor="middle", font_weight="bold")

    for column, j in enumerate(shown):
        drawing.text(
            _PAD + (column + 1.5) * width,
            y + 12,
            str(topology.nodes[j].id),
            10,
            text_anchor="middle",
            font_weight="bold",
        )
    for row_number, i in enumerate(shown):
        at = y + (row_number + 1) * height
        drawing.text(
            _PAD + width / 2, at + 12, str(topology.nodes[i].id), 10, text_anchor="middle", font_weight="bold"
        )
        for column, j in enumerate(shown):
            distance = topology.distances[i][j]
            grey = max(150, 255 - max(0, distance - 10) * 3)
            drawing.box(
                _PAD + (column + 1) * width,
                at,
                width,
                height,
                f"#{grey:02x}{grey:02x}{grey:02x}",
                stroke="#dddddd",
            )
            drawing.text(_PAD + (column + 1.5) * width, at + 12, str(distance), 10, text_anchor="middle")


# -- What is drawn ---------------------------------------------------------------------------


def draw_machine(topology: Topology, title: str, attached: Attached, caches: Mapping[int, int]) -> str:
    """The machine alone."""
    return draw(topology, Picture(title, attached=attached, caches=caches))


def draw_plan(
    topology: Topology, plan: Plan, title: str, attached: Attached, caches: Mapping[int, int]
) -> str:
    """The machine with the tasks of a plan on it."""
    return draw(
        topology,
        Picture(title, tuple(_planned(topology, plan)), frozenset(plan.request.cpus), attached, caches),
    )


def _planned(topology: Topology, plan: Plan) -> Iterator[Holder]:
    for task, placed in enumerate(plan.placements):
        gpus = ", ".join(str(number_of(topology.gpus, gpu)) for gpu in placed.gpus)
        memory: str = placed.policy
        if placed.sets_memory and placed.memory_nodes:
            memory += f" {format_cpulist(placed.memory_nodes)}"
        uses = f"GPU {gpus}" if gpus else "no GPU"
        reason = ". ".join(part for part in (placed.reason or placed.note, placed.advice) if part)
        label = f"task {task}: {uses}, CPUs {_short(placed.cpus)}, memory {memory}"
        yield Holder(
            str(task), label, frozenset(placed.cpus),
            tuple(topology.gpus[gpu].bdf for gpu in placed.gpus), placed.state, reason,
        )  # fmt: skip


def _short(cpus: Iterable[int]) -> str:
    words = format_cpulist(cpus) or "none"
    if len(words) <= 40:
        return words
    return words[:36].rpartition(",")[0] + ",..."


def draw_processes(
    topology: Topology, title: str, seen: Sequence[Seen], attached: Attached, caches: Mapping[int, int]
) -> str:
    """The machine with running processes on it; those of a task share its colour."""
    step = frozenset(cpu for process in seen for cpu in process.cpus)
    return draw(topology, Picture(title, tuple(_running(topology, seen)), step, attached, caches))


def _running(topology: Topology, seen: Sequence[Seen]) -> Iterator[Holder]:
    """One holder per task; each process outside any task is a holder too."""
    tasks: dict[tuple[bool, int], list[Seen]] = {}
    for process in seen:
        own = process.rank is None
        tasks.setdefault((own, process.pid if own else process.rank or 0), []).append(process)
    for (own, number), processes in sorted(tasks.items()):
        # Loaders and helpers have no GPU: the task takes the state of its process with one.
        lead = next((process for process in processes if process.gpus), processes[0])
        bdfs = tuple(dict.fromkeys(gpu.bdf for process in processes for gpu in process.gpus))
        positions = [i for i, gpu in enumerate(topology.gpus) if gpu.bdf in bdfs]
        gpus = ", ".join(str(number_of(topology.gpus, i)) for i in positions)
        count = "1 process" if len(processes) == 1 else f"{len(processes)} processes"
        name = f"process {number}" if own else f"task {number}"
        label = f"{name}: {one_line(lead.name) or '?'}, {count}, {f'GPU {gpus}' if gpus else 'no GPU'}"
        verdict = lead.verdict
        reason = "; ".join(part for part in (verdict.reason if verdict else lead.hidden, lead.undone) if part)
        cpus = frozenset(cpu for process in processes for cpu in process.cpus)
        state = verdict.state if verdict else None
        yield Holder(str(number), label, cpus, bdfs, state, reason, "process" if own else "task")


def host_of(root: str, said: Optional[str]) -> Optional[str]:
    """The machine's name, if it is this one or was given."""
    return said or (os.uname().nodename if os.path.abspath(root) == "/" else one_line(root))  # noqa: PTH100


def write(path: str, text: str) -> None:
    """Write a drawing. Raises RequestError."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot write {path}: {error.strerror}") from error
