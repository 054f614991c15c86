"""Sizes of last-level caches, for drawings."""

from __future__ import annotations

from ..sysfs import Tree
from .model import Topology

_CPUS = "/sys/devices/system/cpu"
_UNITS = {"K": 10, "M": 20, "G": 30}


def read_cache_sizes(tree: Tree, topology: Topology) -> dict[int, int]:
    """Bytes of each last-level cache, by the lowest CPU that shares it (`Core.llc`), if the size is known."""
    sizes = {}
    for first in sorted({core.llc for core in topology.cores}):
        # The kernel numbers a CPU's caches outward from the core.
        indexes = [name for name in tree.names(f"{_CPUS}/cpu{first}/cache") if name.startswith("index")]
        last = max(indexes, key=lambda name: int(name[5:]) if name[5:].isdigit() else -1, default=None)
        size = parse_size(tree.text(f"{_CPUS}/cpu{first}/cache/{last}/size")) if last else None
        if size:
            sizes[first] = size
    return sizes


def parse_size(text: object) -> int:
    """``32768K`` in bytes; 0 for any other text.

    >>> parse_size("512K")
    524288
    """
    words = text.strip() if isinstance(text, str) else ""
    number, unit = words[:-1], words[-1:]
    return int(number) << _UNITS[unit] if number.isascii() and number.isdigit() and unit in _UNITS else 0
