"""Why a task is not aligned, derived from the environment it started with and its present state. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..names import STATE, Cause
from ..placement.launcher import bound_explicitly
from ..process.undone import added_cpus
from ..topology.model import Gpu, Topology
from .rehearsal import rehearsed


def cause_of(
    environment: Mapping[str, str], cpus: Sequence[int], gpus: Sequence[Gpu], topology: Topology
) -> Cause:
    """The cause for a task that is not aligned.

    ``environment`` is what the process was started with (proc_pid_environ(5)); it is empty if hidden.
    """
    if not environment:
        return "hidden"
    if environment.get(STATE) == "aligned" and added_cpus(environment, cpus):
        return "undone"
    if any(bound_explicitly(environment)):
        return "explicit"
    if STATE not in environment:
        return "rehearsed" if rehearsed(environment) else "not-asked"
    if _cores(cpus, topology) < len(gpus):
        return "few-cores"
    return "allocated-far"


def _cores(cpus: Sequence[int], topology: Topology) -> int:
    mine = set(cpus)
    return sum(1 for core in topology.cores if not mine.isdisjoint(core.cpus))
