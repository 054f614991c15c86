"""Gres= of slurm.conf, ``gpu:h100:8(S:0-1),shard:64``, read as Slurm reads it.

Source: _parse_gres_config and _get_gres_cnt in src/interfaces/gres.c; compared with Slurm in
tests/native/test_doctor_oracle.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, Optional

_SUFFIXES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_COUNT = re.compile(r"(\d{1,15})([kmgtp]?)", re.IGNORECASE | re.ASCII)

# The brackets after a count may contain commas too: gpu:8(S:0,1).
_COMMA = re.compile(r",(?![^(]*\))")


class Entry(NamedTuple):
    """One entry: the text, the name and the type as written (None without one), and how many."""

    text: str
    name: str
    type: Optional[str]
    number: int

    @property
    def for_gpus(self) -> bool:
        """Whether a person means GPUs by it: Slurm does not know ``GPU:8``."""
        return self.name.lower() == "gpu"


class Wanted(NamedTuple):
    """An entry of Gres= about GPUs: its type in lower case, None without one, and how many."""

    type: Optional[str]
    number: int


def count_of(text: str) -> Optional[int]:
    """A count with Slurm's suffixes, ``8`` or ``2K``; None for text that Slurm does not accept as one."""
    match = _COUNT.fullmatch(text)
    return int(match[1]) * _SUFFIXES[match[2].lower()] if match else None


def entries_of(gres: str) -> tuple[Entry, ...]:
    """The entries in order."""
    return tuple(_entry(text.strip()) for text in _COMMA.split(gres) if text.strip())


def _entry(text: str) -> Entry:
    name, *rest = re.sub(r"\([^)]*\)", "", text).split(":")
    return Entry(text, name, *_type_and_count(rest))


def _type_and_count(words: Sequence[str]) -> tuple[Optional[str], int]:
    """The count comes last, even after ``no_consume``; without a number there it is one."""
    count = count_of(words[-1]) if words else None
    kinds = [word for word in (words if count is None else words[:-1]) if word.lower() != "no_consume"]
    return (kinds[0] if kinds else None), (1 if count is None else count)


def wanted_gpus(gres: str) -> tuple[Wanted, ...]:
    """The entries about GPUs, in order, as Slurm reads them: the case of the name matters."""
    gpus = (entry for entry in entries_of(gres) if entry.name == "gpu")
    return tuple(Wanted(entry.type.lower() if entry.type else None, entry.number) for entry in gpus)


def misspelt(gres: str) -> Optional[str]:
    """The first entry of Gres= that means GPUs to a person but not to Slurm."""
    wrong = (entry.text for entry in entries_of(gres) if entry.for_gpus and entry.name != "gpu")
    return next((re.sub(r"\([^)]*\)", "", text) for text in wrong), None)
