"""Flags= of gres.conf: which lines contradict each other, and which variables jobs get.

Source: _parse_gres_config and gres_flags_parse in src/interfaces/gres.c (src/common/gres.c up to 22.05).
Slurm looks for its words anywhere in the value. Until 22.05, and again from 26.05 on, only words about
variables replace its default, which is all variables; between these releases any Flags= does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

from numa_align.slurm_files.gres_lines import GresLine
from numa_align.topology.gpu.vendors import VENDORS

from ..version import Version
from .gres_detect import detects
from .model import Facts, Finding

_NO_VARIABLE = "no_gpu_env"
_ENVIRONMENT = frozenset((*(vendor.gres_flag for vendor in VENDORS.values()), "opencl_env"))
_DEFAULT = _ENVIRONMENT | {"default"}

#: Each word with the release that brought it.
_WORDS = {
    "countonly": (22, 5),
    "one_sharing": (22, 5),
    "explicit": (23, 2),
    "env_uuid": (26, 5),
    _NO_VARIABLE: (22, 5),
    **dict.fromkeys(_ENVIRONMENT, (22, 5)),
}


class _Settled(NamedTuple):
    """The words that hold for a line, and the line from which it has them, None for Slurm's default."""

    words: frozenset[str]
    source: Optional[GresLine]


class _Contradiction(NamedTuple):
    """A line that ends slurmd, and the one before it, None where the line contradicts itself."""

    line: GresLine
    before: Optional[GresLine]


def gpu_flags(facts: Facts) -> Iterator[Finding]:
    """Lines that contradict each other, and GPUs whose own variable no job gets."""
    lines = sorted((line for line in facts.gres if line.named), key=lambda line: line.position)
    if not facts.has_gpus or not lines:
        return
    settled = _settle(lines, facts.checked_version)
    if isinstance(settled, _Contradiction):
        yield _ends(settled)
    elif not detects(facts):
        yield from _no_variable(facts, settled)


def _settle(lines: Sequence[GresLine], version: Version) -> list[_Settled] | _Contradiction:
    """What holds for each line, as Slurm reads one after the other."""
    only_variables = version < (23, 2) or version >= (26, 5)
    found: list[_Settled] = []
    before: Optional[_Settled] = None
    last: Optional[GresLine] = None
    for line in lines:
        words = _words(line, version)
        told = words & (_ENVIRONMENT | {_NO_VARIABLE})
        if _NO_VARIABLE in told and len(told) > 1:
            return _Contradiction(line, None)
        counted = told if version < (23, 2) else words
        if line.flags and (told or not only_variables):
            if before is not None and before.words != counted:
                return _Contradiction(line, last)
            before = _Settled(counted, line)
            found.append(_Settled(words, line))
        elif not line.flags and before is not None and before.words:
            found.append(before)
        else:
            before = _Settled(_DEFAULT | (words & {"env_uuid"}), None)
            found.append(_Settled(_DEFAULT | words, None))
        last = line
    return found


def _words(line: GresLine, version: Version) -> frozenset[str]:
    flags = (line.flags or "").lower()
    return frozenset(word for word, since in _WORDS.items() if word in flags and version >= since)


def _ends(wrong: _Contradiction) -> Finding:
    line, before = wrong
    if before is None:
        what = f'Flags={line.flags} (contains "{_NO_VARIABLE}", which must be mutually exclusive)'
        change = f"{line.place}: {_NO_VARIABLE} alone, or without it"
    else:
        has = f"Flags={before.flags}" if before.flags else "none"
        what = (
            f"Flags={line.flags}, and {before.place} has {has} (Flags ({line.flags}) does not match env "
            "flags for previous GRES of same node and name)"
        )
        change = f"{line.place}: the same Flags= on every line of this node's GPUs"
    return Finding("gres-flags", "fail", f"{line.place}: {what}", "slurmd does not start", change)


def _no_variable(facts: Facts, settled: Sequence[_Settled]) -> Iterator[Finding]:
    """Slurm sets a variable for the whole node if any of its lines has the word for it."""
    vendors = {gpu.vendor for gpu in facts.topology.gpus} & set(VENDORS)
    sources = [one.source for one in settled if one.source is not None]
    if len(vendors) != 1 or not sources or any(_NO_VARIABLE in one.words for one in settled):
        return
    (vendor,) = (VENDORS[name] for name in vendors)
    if any(vendor.gres_flag in one.words for one in settled):
        return
    line = sources[0]
    yield Finding(
        "gres-flags",
        "warn",
        f"{line.place}: Flags={line.flags} has no {vendor.gres_flag}: Slurm does not set {vendor.visible}",
        "programs start on the first GPU that they can open; without ConstrainDevices that is the same one "
        "for every job",
        f"{line.place}: Flags={line.flags},{vendor.gres_flag}, or no Flags=; with {_NO_VARIABLE} if no "
        "variable is wanted",
    )
