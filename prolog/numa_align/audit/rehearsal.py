"""What a site's rehearsal (``dry`` in plugstack.conf) would have given a task. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Optional

from ..cpulist import format_cpulist, parse_cpulist
from ..names import DRY, STATE, STATES, State
from ..topology.model import Gpu, Topology


class Rehearsed(NamedTuple):
    """The state that the task would have, its CPUs in the kernel's format, and the addresses of its GPUs."""

    state: State
    cpus: str
    gpus: tuple[str, ...] = ()


def rehearsed(environment: Mapping[str, str]) -> Optional[Rehearsed]:
    """What the plugin decided but did not do; None without a rehearsal, or if the task was placed since."""
    # As spank/report.c writes it: ``aligned gpus=0000:01:00.0 cpus=0-3 mems=0``.
    word, *words = environment.get(DRY, "").split(" ")
    state = next((state for state in STATES if state == word), None)
    told = dict(word.partition("=")[::2] for word in words)
    try:
        cpus = parse_cpulist(told.get("cpus", ""))
    except ValueError:
        return None
    if state is None or not cpus or STATE in environment:
        return None
    return Rehearsed(state, format_cpulist(cpus), tuple(told.get("gpus", "").split(",")))


def gpus_rehearsed(environment: Mapping[str, str], topology: Topology) -> tuple[Gpu, ...]:
    """The GPUs for which the plugin decided."""
    told = rehearsed(environment)
    return tuple(gpu for gpu in topology.gpus if told is not None and gpu.bdf in told.gpus)
