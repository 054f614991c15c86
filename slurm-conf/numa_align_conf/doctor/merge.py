"""What slurmd makes of Gres= in slurm.conf and the lines of gres.conf together, where it detects nothing.

Source: _merge_config, _merge_gres2 and _check_conf_mismatch in src/interfaces/gres.c; held against
`slurmd -G` of 22.05, 24.11 and 26.05 in tests/native/test_doctor_oracle.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

from numa_align.slurm_files.gres_lines import GresLine

_SUFFIXES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_COUNT = re.compile(r"(\d{1,15})([kmgtp]?)", re.IGNORECASE | re.ASCII)


class Wanted(NamedTuple):
    """An entry of Gres= about GPUs: its type in lower case, None without one, and how many."""

    type: Optional[str]
    number: int


class Taken(NamedTuple):
    """The devices of a line of gres.conf that Slurm gives out; none where the line has no File=."""

    line: GresLine
    devices: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Merged:
    """What Slurm takes, what is declared and has no device, what gres.conf has in excess."""

    taken: tuple[Taken, ...]
    missing: tuple[Wanted, ...]
    extra: tuple[tuple[GresLine, int], ...]

    @property
    def files(self) -> frozenset[str]:
        """The device files of all GPUs that jobs can get."""
        return frozenset(file for one in self.taken for device in one.devices for file in device)


def count_of(text: str) -> Optional[int]:
    """A count with Slurm's suffixes, ``8`` or ``2K``; None for what Slurm does not take for one."""
    match = _COUNT.fullmatch(text)
    return int(match[1]) * _SUFFIXES[match[2].lower()] if match else None


def wanted_gpus(gres: str) -> tuple[Wanted, ...]:
    """The entries of Gres= about GPUs, ``gpu:h100:8(S:0-1),shard:64``, in order.

    The name counts as written: Slurm knows no GPU:8.
    """
    return tuple(_wanted(words) for words in _entries(gres) if words[0] == "gpu")


def misspelt(gres: str) -> Optional[str]:
    """The first entry of Gres= that is about GPUs for a person and not for Slurm."""
    return next((":".join(words) for words in _entries(gres) if words[0].lower() == "gpu" != words[0]), None)


def _entries(gres: str) -> Iterator[list[str]]:
    # A comma stands in the brackets behind a count too: gpu:8(S:0,1).
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        if entry.strip():
            yield entry.strip().split(":")


def _wanted(words: Sequence[str]) -> Wanted:
    rest = [word for word in words[1:] if word.lower() != "no_consume"]
    count = count_of(rest[-1]) if rest else None
    kinds = rest if count is None else rest[:-1]
    return Wanted(kinds[0].lower() if kinds else None, 1 if count is None else count)


def slots(line: GresLine) -> int:
    """For how many GPUs a line stands: its devices, or Count=."""
    return len(line.devices) or (1 if line.number is None else count_of(line.number) or 0)


def merge(wanted: Iterable[Wanted], lines: Iterable[GresLine]) -> Merged:
    """Each entry takes lines of its type, one without a type any line, in Slurm's order, up to its count."""
    left = [line for line in lines if line.named]
    taken: list[Taken] = []
    missing: list[Wanted] = []
    extra: list[tuple[GresLine, int]] = []
    for kind, count in wanted:
        open_count = count
        for line in [line for line in left if _matches(kind, line)]:
            if open_count == 0:
                break
            left.remove(line)
            taken.append(Taken(line, line.devices[:open_count]))
            if slots(line) > open_count:
                extra.append((line, slots(line) - open_count))
            open_count = max(0, open_count - slots(line))
        if open_count:
            missing.append(Wanted(kind, open_count))
    extra += [(line, slots(line)) for line in left]
    return Merged(tuple(taken), tuple(missing), tuple(extra))


def _matches(kind: Optional[str], line: GresLine) -> bool:
    # A line without Type= is not what gpu:h100 asks for.
    return kind is None or (line.type is not None and line.type.lower() == kind)
