"""Checks of network cards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

from numa_align.topology.model import PATHS, Nic

from .model import Facts, Finding


def nearest_is_up(facts: Facts) -> Iterator[Finding]:
    """GPUs whose nearest card is down while a farther one of the same fabric is up.

    Where all cards of a fabric are down it is not in use, and that is no fault.
    """
    alone = [nic for nic in facts.topology.nics if nic.is_alone]
    up = [nic for nic in alone if nic.is_choosable]
    lost = []
    for position, gpu in enumerate(facts.topology.gpus):
        used = _nearest(up, position)
        same = [nic for nic in alone if used and nic.kind == used.kind]
        nearest = _nearest(same, position)
        if used and nearest and _rank(nearest, position) < _rank(used, position):
            lost.append(f"{nearest.name} ({nearest.paths[position]}) of GPU {gpu.bdf}")
    if lost:
        names = ", ".join(lost[:4]) + (", ..." if lost[4:] else "")
        yield Finding(
            "nic-down",
            "warn",
            f"the network card nearest to a GPU is down: {names}",
            "its tasks share a card that is farther away with others",
            "see `numa-align topo` for all cards, and `ibstat` or `ip link` for the reason",
        )
    elif up and facts.has_gpus:
        yield Finding("nic-down", "ok", "the network card nearest to each GPU is up")


def _rank(nic: Nic, gpu: int) -> int:
    return PATHS.index(nic.paths[gpu])


def _nearest(cards: Sequence[Nic], gpu: int) -> Optional[Nic]:
    return min(cards, key=lambda nic: _rank(nic, gpu), default=None)
