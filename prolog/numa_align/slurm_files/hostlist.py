"""Lists of names in Slurm's notation, ``n[001-100],login`` and ``/dev/nvidia[0-3]``.

Source: src/common/hostlist.c. Numbers keep the width that their lower end is written with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from ..sysfs import to_number

#: Slurm allows 1024 devices in one record of gres.conf.
_MAX_DEVICES = 1024
_MAX_BRACKETS = 8


class HostlistError(Exception):
    """The text is not a list of names; it says why."""


def _pieces(text: str) -> Iterator[str]:
    """The parts of a hostlist: split at the commas outside brackets."""
    piece, depth = "", 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth <= 0:
            yield piece
            piece = ""
        else:
            piece += character
    yield piece


def _range(text: str) -> tuple[Optional[int], Optional[int], int]:
    """Lower end, upper end and width in digits of ``N`` or ``N-M``."""
    low, dash, high = text.partition("-")
    return to_number(low), to_number(high if dash else low), len(low)


def expand(hostlist: str) -> tuple[str, ...]:
    """The names of a list in Slurm's notation, in order.

    >>> expand("/dev/nvidia[0-2],/dev/nvidia7")
    ('/dev/nvidia0', '/dev/nvidia1', '/dev/nvidia2', '/dev/nvidia7')
    """
    names: list[str] = []
    for piece in _pieces(hostlist):
        names.extend(_expand_piece(piece.strip(), _MAX_BRACKETS))
        if len(names) > _MAX_DEVICES:
            raise HostlistError(f"{hostlist[:40]!r} names more than {_MAX_DEVICES} devices")
    return tuple(names)


def _expand_piece(piece: str, brackets: int) -> list[str]:
    head, bracket, rest = piece.partition("[")
    if not bracket:
        return [piece] if piece else []
    inside, close, tail = rest.partition("]")
    if not close or brackets == 0:
        raise HostlistError(f"{piece[:40]!r} is not a list of names")
    names: list[str] = []
    tails = _expand_piece(tail, brackets - 1) if tail else [""]
    for part in inside.split(","):
        low, high, width = _range(part.strip())
        if low is None or high is None or high - low >= _MAX_DEVICES:
            raise HostlistError(f"{piece[:40]!r} is not a list of names")
        names.extend(f"{head}{n:0{width}d}{end}" for n in range(low, high + 1) for end in tails)
        if len(names) > _MAX_DEVICES:
            raise HostlistError(f"{piece[:40]!r} names more than {_MAX_DEVICES} devices")
    return names


def in_hostlist(name: str, hostlist: str) -> bool:
    """Whether a node name is in a list in Slurm's notation, ``n[001-100],login``.

    Not by expansion: the list of a big cluster has more names than this program may make.
    """
    return any(_matches(name, piece.strip(), _MAX_BRACKETS) for piece in _pieces(hostlist))


def _matches(name: str, pattern: str, brackets: int) -> bool:
    head, bracket, rest = pattern.partition("[")
    if not bracket:
        return name == pattern
    inside, close, tail = rest.partition("]")
    if not close or not name.startswith(head) or brackets == 0:
        return False
    rest_of_name = name[len(head) :]
    digits = 0
    while digits < len(rest_of_name) and rest_of_name[digits].isdigit():
        digits += 1
        if _in_ranges(rest_of_name[:digits], inside) and _matches(rest_of_name[digits:], tail, brackets - 1):
            return True
    return False


def _in_ranges(digits: str, ranges: str) -> bool:
    number = to_number(digits)
    for part in ranges.split(","):
        low, high, width = _range(part.strip())
        if number is None or low is None or high is None:
            continue
        if low <= number <= high and digits == f"{number:0{width}d}":
            return True
    return False
