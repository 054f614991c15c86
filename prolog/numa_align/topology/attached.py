"""Where a device other than a GPU is attached: its node, and its distance from each GPU.

Source of the words: the legend that ``nvidia-smi topo -m`` prints. Everything is read from sysfs: a device's
route through bridges is the path of its directory (Documentation/filesystems/sysfs.rst), so it is known
without NVIDIA's driver too.
"""

from __future__ import annotations

from ..light_typing import TYPE_CHECKING, NamedTuple
from ..sysfs import Tree
from .gpu.pci import bridge_clues, read_clue, route
from .locality import place
from .model import Topology

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Optional

    from ..names import PathWord, Source


class Attachment(NamedTuple):
    """The fields that `numa_align.topology.model.Nic` and ``Disk`` share."""

    node: Optional[int]
    source: Source
    paths: tuple[PathWord, ...]


class Attacher:
    """Determines the place of devices on one machine."""

    def __init__(self, tree: Tree, topology: Topology) -> None:
        """``topology`` was read from ``tree``; the routes of its GPUs are read once."""
        self._tree = tree
        self._topology = topology
        self._gpus = tuple((route(tree, gpu.bdf), gpu.node) for gpu in topology.gpus)

    def attach(self, bdf: str, way: Optional[Sequence[str]] = None) -> Attachment:
        """The place of a function; ``way`` is its route if the caller already knows it."""
        way = route(self._tree, bdf) if way is None else way
        node, source, _ = place(
            read_clue(self._tree, bdf),
            bridge_clues(self._tree, bdf),
            None,
            self._topology.nodes,
            self._topology.online,
        )
        paths = (path_between(way, other, node is not None and node == its) for other, its in self._gpus)
        return Attachment(node, source, tuple(paths))


def path_between(a: Sequence[str], b: Sequence[str], same_node: bool) -> PathWord:
    """How two functions reach each other, one of `numa_align.topology.model.PATHS`, from their routes.

    To the kernel a switch is two bridges, an upstream and a downstream port. Functions whose routes meet in
    an upstream port, or below one downstream port, have at most one bridge each below that point.
    """
    meet = next((at for at, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    if meet == 0 or not a[0].startswith("pci"):
        return "NODE" if same_node else "SYS"
    if meet == 1:
        return "PHB"
    bridges = max(len(a), len(b)) - meet - 1
    return "PIX" if bridges <= 1 else "PXB"
