"""How full a NUMA node is: what is free, and how much page cache can be dropped at once. Stdlib only.

Source: Documentation/ABI/stable/sysfs-devices-node, and proc_meminfo(5) for the meaning of the lines.
"""

from __future__ import annotations

from ..light_typing import TYPE_CHECKING, NamedTuple
from ..sysfs import Tree, fields, to_number

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Optional

_NODES = "sys/devices/system/node"


class NodeMemory(NamedTuple):
    """One node, in bytes.

    ``clean`` is page cache that no program has mapped and that need not be written first. Shared memory
    (tmpfs) is on the lists of anonymous memory and so is not part of it.
    """

    node: int
    total: int
    free: int
    clean: int

    @property
    def available(self) -> int:
        """What a task can have here without anything being written or killed."""
        return self.free + self.clean


def parse_meminfo(text: Optional[str], node: int) -> Optional[NodeMemory]:
    """Parse a node's meminfo; None for any other text."""
    lines = fields(text)

    def size(name: str) -> int:
        number, _, unit = lines.get(f"Node {node} {name}", "").partition(" ")
        kilobytes = to_number(number)
        return kilobytes * 1024 if kilobytes is not None and kilobytes > 0 and unit.strip() == "kB" else 0

    if not size("MemTotal"):
        return None
    cache = size("Active(file)") + size("Inactive(file)")
    clean = cache - size("Dirty") - size("Writeback") - size("Mapped")
    return NodeMemory(node, size("MemTotal"), size("MemFree"), max(0, clean))


def read_node_memory(node: int, tree: Optional[Tree] = None) -> Optional[NodeMemory]:
    """Read the present state of a node from its one file; None if the kernel does not show it."""
    return parse_meminfo((tree or Tree("/")).text(f"{_NODES}/node{node}/meminfo"), node)


def read_nodes_memory(nodes: Iterable[int], tree: Optional[Tree] = None) -> tuple[NodeMemory, ...]:
    """The nodes about which the kernel reports something."""
    found = (read_node_memory(node, tree) for node in nodes)
    return tuple(memory for memory in found if memory is not None)
