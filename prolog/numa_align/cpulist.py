"""CPU and node sets in the two forms that the kernel writes.

*List format*: decimal numbers and ranges, ``0-3,8,10-12``; the empty set is the empty string.
A range may carry a stride, ``0-31:2/4`` (the first 2 of each 4). *Mask format* (``cpumap``):
hexadecimal words of 32 bits, the most significant first, separated by commas:
``00000001,ffffffff`` is 0-32.

Source: "The Linux kernel's command-line parameters", section "cpu lists"
(Documentation/admin-guide/kernel-parameters.rst), and cpuset(7), "FORMATS". The same formats
serve node numbers.

Anything else raises ValueError with the piece that is wrong; callers know which file it came from.
"""

from __future__ import annotations

from .light_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


#: One more than the largest number accepted. Kernels are built for at most 8192 CPUs and 1024
#: nodes; the bound keeps ``0-4294967295`` from a damaged file from filling the memory.
LIMIT = 65536

_MASK_WORD_BITS = 32
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


def _number(text: str) -> int:
    # int() alone would also take "+1", "1_0" and digits of other scripts.
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        raise ValueError(f"{text[:40]!r} is not a number")
    value = int(text)
    if value >= LIMIT:
        raise ValueError(f"{value} is out of range (at most {LIMIT - 1})")
    return value


def _region(text: str) -> Iterable[int]:
    """The numbers of ``N``, ``N-M`` or ``N-M:used/group``."""
    bounds, colon, stride = text.partition(":")
    first, dash, last = bounds.partition("-")
    low = _number(first)
    high = _number(last) if dash else low
    if high < low:
        raise ValueError(f"{text[:40]!r} is a range that runs backwards")
    if not colon:
        return range(low, high + 1)
    used_text, slash, group_text = stride.partition("/")
    used, group = _number(used_text), _number(group_text)
    if not (dash and slash and 0 < used <= group):
        raise ValueError(f"{text[:40]!r} is not a range with a stride")
    return (n for n in range(low, high + 1) if (n - low) % group < used)


def parse_cpulist(text: str) -> tuple[int, ...]:
    """Numbers of a list, ascending and without repetition.

    >>> parse_cpulist("0-2,8\\n")
    (0, 1, 2, 8)

    White space separates like a comma and a region may overlap another, as in the kernel's own
    parser. Raises ValueError for anything else, and for numbers of `LIMIT` or more.
    """
    numbers: set[int] = set()
    for region in text.replace(",", " ").split():
        numbers.update(_region(region))
    return tuple(sorted(numbers))


def format_cpulist(cpus: Iterable[int]) -> str:
    """The list format of a set of numbers, as the kernel prints it: shortest, ascending.

    >>> format_cpulist([8, 0, 1, 2])
    '0-2,8'
    """
    regions: list[str] = []
    ordered = sorted(set(cpus))
    position = 0
    while position < len(ordered):
        first = last = ordered[position]
        position += 1
        while position < len(ordered) and ordered[position] == last + 1:
            last += 1
            position += 1
        regions.append(str(first) if first == last else f"{first}-{last}")
    return ",".join(regions)


def parse_cpumap(text: str) -> tuple[int, ...]:
    """Numbers of a mask, ascending.

    >>> parse_cpumap("00000001,0000000f\\n")
    (0, 1, 2, 3, 32)

    Raises ValueError for other text; the empty mask is the empty set.
    """
    words = text.strip().split(",")
    if words == [""]:
        return ()
    mask = 0
    for word in words:
        if not 0 < len(word) <= _MASK_WORD_BITS // 4 or set(word) - _HEX_DIGITS:
            raise ValueError(f"{word[:40]!r} is not a word of a CPU mask")
        mask = mask << _MASK_WORD_BITS | int(word, 16)
    if mask >> LIMIT:
        raise ValueError(f"a CPU mask has more than {LIMIT} bits")
    bits = bin(mask)[:1:-1]
    return tuple(number for number, bit in enumerate(bits) if bit == "1")


def format_cpumap(cpus: Iterable[int]) -> str:
    """The mask format of a set of numbers: whole words, no more of them than needed.

    >>> format_cpumap([0, 1, 2, 3, 32])
    '00000001,0000000f'
    """
    mask = 0
    for cpu in cpus:
        mask |= 1 << cpu
    words: list[str] = []
    while mask or not words:
        words.append(f"{mask & 0xFFFFFFFF:08x}")
        mask >>= _MASK_WORD_BITS
    return ",".join(reversed(words))
