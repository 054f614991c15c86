"""How slurmd combines Gres= of slurm.conf with the lines of gres.conf, if it detects nothing.

Source: _merge_config, _merge_gres2 and _check_conf_mismatch in src/interfaces/gres.c;
tests/native/test_doctor_oracle.py compares it with `slurmd -G` of 22.05, 24.11 and 26.05.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Optional

from numa_align.slurm_files.gres_lines import GresLine

from ..gres_words import Wanted, count_of


class Taken(NamedTuple):
    """The devices of a line of gres.conf that Slurm gives out; empty if the line has no File=."""

    line: GresLine
    devices: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Merged:
    """What Slurm takes, what is declared but has no device, and what gres.conf has in excess."""

    taken: tuple[Taken, ...]
    missing: tuple[Wanted, ...]
    extra: tuple[tuple[GresLine, int], ...]

    @property
    def files(self) -> frozenset[str]:
        """The device files of all GPUs that jobs can get."""
        return frozenset(file for one in self.taken for device in one.devices for file in device)


def slots(line: GresLine) -> int:
    """The number of GPUs for which a line stands: its devices, or Count=."""
    return len(line.devices) or (1 if line.number is None else count_of(line.number) or 0)


def merge(wanted: Iterable[Wanted], lines: Iterable[GresLine]) -> Merged:
    """Each entry takes lines of its type, or any line if it has none, in Slurm's order, up to its count."""
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
    # A line without Type= does not satisfy gpu:h100.
    return kind is None or (line.type is not None and line.type.lower() == kind)
