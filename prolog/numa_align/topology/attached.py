"""Where a device hangs that is no GPU: its node, and how far it is from each GPU.

Source of the words: the legend that ``nvidia-smi topo -m`` prints. All of it is from sysfs: the route of a
device through bridges is the path of its directory (Documentation/filesystems/sysfs.rst), so that a machine
without NVIDIA's driver has it as well.
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
    """Attaches devices to one machine."""

    def __init__(self, tree: Tree, topology: Topology) -> None:
        """The machine that ``topology`` was read from; the routes of its GPUs are asked for once."""
        self._tree = tree
        self._topology = topology
        self._gpus = tuple((route(tree, gpu.bdf), gpu.node) for gpu in topology.gpus)

    def attach(self, bdf: str, way: Optional[Sequence[str]] = None) -> Attachment:
        """Where the function is; ``way`` is its route where the caller knows it already."""
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

    A switch is two bridges for the kernel, one port up and one down. What meets in a port up, or hangs on
    one port down, has at most one bridge on each side below the place where it meets.
    """
    meet = next((at for at, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    if meet == 0 or not a[0].startswith("pci"):
        return "NODE" if same_node else "SYS"
    if meet == 1:
        return "PHB"
    bridges = max(len(a), len(b)) - meet - 1
    return "PIX" if bridges <= 1 else "PXB"
