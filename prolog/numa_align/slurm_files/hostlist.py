"""Lists of names in Slurm's notation, ``n[001-100],login`` and ``/dev/nvidia[0-3]``.

Source: src/common/hostlist.c. Numbers keep the width with which their lower end is written.
"""

from __future__ import annotations

from ..light_typing import TYPE_CHECKING
from ..sysfs import to_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Optional

#: Slurm allows 1024 devices in one record of gres.conf (MAX_GRES_BITMAP).
_MAX_DEVICES = 1024
#: Nodes of a cluster; Slurm itself stops at 65536 (MAX_SLURM_NODES is lower in all releases).
MAX_NODES = 65536
_MAX_BRACKETS = 8
_DIGITS = "0123456789"


class HostlistError(Exception):
    """The text is not a list of names; the message says why."""


def _pieces(text: str) -> Iterator[str]:
    """The parts of a hostlist: split at commas and white space outside brackets."""
    if "[" not in text:
        yield from text.replace(",", " ").split()
        return
    piece, depth = "", 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character in ", \t\n" and depth <= 0:
            yield piece
            piece = ""
        else:
            piece += character
    yield piece


def _range(text: str) -> tuple[Optional[int], Optional[int], int]:
    """Lower end, upper end and width in digits of ``N`` or ``N-M``."""
    low, dash, high = text.partition("-")
    return to_number(low), to_number(high if dash else low), len(low)


def expand(hostlist: str, limit: int = _MAX_DEVICES) -> tuple[str, ...]:
    """The names of a list in Slurm's notation, in order, ``limit`` at most. Raises HostlistError.

    >>> expand("/dev/nvidia[0-2],/dev/nvidia7")
    ('/dev/nvidia0', '/dev/nvidia1', '/dev/nvidia2', '/dev/nvidia7')
    """
    names: list[str] = []
    for piece in _pieces(hostlist):
        names.extend(_expand_piece(piece.strip(), _MAX_BRACKETS, limit))
        if len(names) > limit:
            raise HostlistError(f"{hostlist[:40]!r} has more than {limit} names")
    return tuple(names)


def _expand_piece(piece: str, brackets: int, limit: int) -> list[str]:
    head, bracket, rest = piece.partition("[")
    if not bracket:
        return [piece] if piece else []
    inside, close, tail = rest.partition("]")
    if not close or brackets == 0:
        raise HostlistError(f"{piece[:40]!r} is not a list of names")
    names: list[str] = []
    tails = _expand_piece(tail, brackets - 1, limit) if tail else [""]
    for part in inside.split(","):
        low, high, width = _range(part.strip())
        if low is None or high is None or not 0 <= high - low < limit:
            raise HostlistError(f"{piece[:40]!r} is not a list of names")
        names.extend(f"{head}{n:0{width}d}{end}" for n in range(low, high + 1) for end in tails)
        if len(names) > limit:
            raise HostlistError(f"{piece[:40]!r} has more than {limit} names")
    return names


def fold(names: Iterable[str]) -> str:
    """Names as a list in Slurm's notation, sorted; `expand`, and Slurm, turn it back into those names.

    >>> fold(["gpu10", "gpu09", "login"])
    'gpu[09-10],login'
    """
    groups: dict[tuple[str, str], list[str]] = {}
    single = []
    for name in sorted(set(names)):
        head, digits, tail = _last_number(name)
        if digits:
            groups.setdefault((head, tail), []).append(digits)
        else:
            single.append(name)
    pieces = [(name, name) for name in single]
    for (head, tail), numbers in groups.items():
        ranges = list(_ranges(sorted(numbers, key=lambda digits: (int(digits), len(digits)))))
        inside = ",".join(ranges)
        several = len(ranges) > 1 or "-" in inside
        pieces.append(
            (f"{head}{numbers[0]}", f"{head}[{inside}]{tail}" if several else f"{head}{inside}{tail}")
        )
    return ",".join(piece for _, piece in sorted(pieces))


def _last_number(name: str) -> tuple[str, str, str]:
    """The text before the last number of a name, the number, and the text after it."""
    end = len(name)
    while end and name[end - 1] not in _DIGITS:
        end -= 1
    start = end
    while start and name[start - 1] in _DIGITS:
        start -= 1
    return name[:start], name[start:end], name[end:]


def _ranges(numbers: list[str]) -> Iterator[str]:
    """Runs of consecutive numbers that are written with the width of the first."""
    first = last = numbers[0]
    for digits in numbers[1:]:
        if int(digits) == int(last) + 1 and digits == f"{int(digits):0{len(first)}d}":
            last = digits
            continue
        yield first if first == last else f"{first}-{last}"
        first = last = digits
    yield first if first == last else f"{first}-{last}"


def in_hostlist(name: str, hostlist: str) -> bool:
    """Whether a node name is in a list in Slurm's notation, ``n[001-100],login``.

    The list is not expanded: that of a big cluster has more names than this program may make.
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
