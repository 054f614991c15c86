"""How much room a job should find on the nodes of its GPUs, and the next step towards it. Pure.

On a node that is full of page cache, memory that is requested faster than kswapd drops cache is taken from
other nodes (docs/measurements.md). So cache is dropped before a job starts: clean page cache only, never what
a program has mapped, and never so much that the kernel would have to reclaim anything else.
"""

from __future__ import annotations

from ..errors import SpecError
from ..light_typing import TYPE_CHECKING, NamedTuple
from .node_memory import NodeMemory

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Optional

    from ..topology.model import Topology

#: Seconds. A job waits no longer than this, whatever has been reached by then.
LIMIT = 1.0

#: A slice is small enough to keep the limit and to check the node's state again.
_SLICE = 64 << 20
_SMALLEST = 1 << 20

_UNITS = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
WORDS = "off|auto|SIZE (a number with K, M, G or T, M without, on each node)"


class Room(NamedTuple):
    """What was requested: nothing, what fits the job (``size`` None), or this many bytes on each node."""

    on: bool
    size: Optional[int] = None


OFF, AUTO = Room(on=False), Room(on=True)


def parse_room(text: str) -> Room:
    """Parse ``off``, ``auto`` or a size. Raises SpecError."""
    word = text.strip()
    if word in ("off", "auto"):
        return OFF if word == "off" else AUTO
    number, unit = (word[:-1], word[-1:].upper()) if word[-1:].isalpha() else (word, "")
    if (
        not (number.isascii() and number.isdigit())
        or len(number) > 12
        or unit not in _UNITS
        or not int(number)
    ):
        raise SpecError(f'room: "{word[:40]}" is not one of {WORDS}')
    return Room(on=True, size=int(number) * _UNITS[unit])


def wanted_by_node(
    topology: Topology, gpus: Iterable[int], room: Room, limit: Optional[int] = None
) -> dict[int, int]:
    """Bytes that should be free on each memory node of these GPUs (positions in the topology).

    ``auto``: these GPUs' part, among all GPUs of the node, of three quarters of the node, since the
    kernel and running processes already need some; not more than ``limit``, all that the job may use.
    """
    if not room.on:
        return {}
    mine = [topology.gpus[gpu].memory_nodes for gpu in gpus]
    size = {node.id: node.memory_bytes for node in topology.nodes}
    wanted = {}
    for node in sorted({node for nodes in mine for node in nodes}):
        of_all = sum(node in gpu.memory_nodes for gpu in topology.gpus)
        share = size[node] * 3 // 4 * sum(node in nodes for nodes in mine) // of_all
        wanted[node] = room.size if room.size is not None else min(share, limit or share)
    return wanted


def is_room(memory: NodeMemory, wanted: int) -> bool:
    """Whether there is enough room, which is the usual case."""
    return memory.free >= wanted


def next_slice(memory: NodeMemory, wanted: int, taken: Optional[int] = None) -> int:
    """Bytes of cache to drop next or, if memory is taken and given back for that, to take next; 0: done.

    ``taken`` is what is held already. A thirty-second of the node is left, so that other processes that
    allocate at the same time find something to drop.
    """
    missing = wanted - memory.free - (taken or 0)
    spare = (memory.clean if taken is None else memory.available) - memory.total // 32
    step = min(missing, spare, _SLICE)
    return step if step >= _SMALLEST else 0


class Made(NamedTuple):
    """The result on one node; ``milliseconds`` are for all nodes together."""

    before: NodeMemory
    after: NodeMemory
    wanted: int
    milliseconds: int
    reason: Optional[str] = None

    @property
    def line(self) -> str:
        """One line for the log and for people."""
        node, free = self.before.node, f"{self.before.free >> 20} -> {self.after.free >> 20} MiB free"
        short = f"; {self.wanted >> 20} MiB were wanted" if self.after.free < self.wanted else ""
        why = f" ({self.reason})" if self.reason and short else ""
        return f"room on node {node}: {free} in {self.milliseconds} ms{short}{why}"
