"""The Slurm that a plugin was built for: the number ``plugin_version`` in its file.

Loading the file would run its code, and fail outside Slurm, which has the functions that it needs. Source:
elf(5); SPANK_PLUGIN in slurm/spank.h; SLURM_VERSION_NUM is year, month and fix, one byte each.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple, Optional

_SIZE_LIMIT = 64 << 20
_DYNSYM = 11


class _Section(NamedTuple):
    kind: int
    address: int
    offset: int
    size: int
    link: int


def built_for(path: Path) -> Optional[tuple[int, int]]:
    """Year and month of the Slurm release; None for anything but a 64-bit plugin of Slurm."""
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            return None
        data = path.read_bytes()
        number = _number(data, b"plugin_version")
    except (OSError, struct.error, IndexError, ValueError):
        return None
    return None if number is None else (number >> 16 & 0xFF, number >> 8 & 0xFF)


def _number(data: bytes, name: bytes) -> Optional[int]:
    """The 32-bit number at a dynamic symbol."""
    if data[:5] != b"\x7fELF\x02":
        return None
    order = "<" if data[5] == 1 else ">"
    (table,) = struct.unpack_from(order + "Q", data, 0x28)
    size, count = struct.unpack_from(order + "HH", data, 0x3A)
    sections = [_section(data, order, table + i * size) for i in range(count)]
    symbols = next((section for section in sections if section.kind == _DYNSYM), None)
    if symbols is None:
        return None
    names = sections[symbols.link].offset
    for start in range(symbols.offset, symbols.offset + symbols.size, 24):
        at, _, _, where, address, _ = struct.unpack_from(order + "IBBHQQ", data, start)
        if data[names + at : data.index(b"\0", names + at)] == name:
            home = sections[where]
            return int(struct.unpack_from(order + "I", data, home.offset + address - home.address)[0])
    return None


def _section(data: bytes, order: str, start: int) -> _Section:
    _, kind, _, address, offset, size, link = struct.unpack_from(order + "IIQQQQI", data, start)
    return _Section(kind, address, offset, size, link)
