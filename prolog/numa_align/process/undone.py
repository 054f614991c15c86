"""Whether a program has left the place that it was given: its variables against the kernel's report. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Optional

from ..cpulist import format_cpulist
from ..names import CPUS, MEMS
from ..placement.launcher import bound_explicitly
from .state import ProcessState, known_list


def undone(state: ProcessState, environment: Mapping[str, str], local: AbstractSet[int]) -> Optional[str]:
    """How a placed process has changed its placement, and what it costs; None if it has kept it.

    ``local`` are the CPUs that are local to its GPUs; none where it has no GPU.

    Using less than it was given is fine: workers and threads divide what a task has. A policy that names
    no nodes cannot be told from one that was never set (mem=local, mem=none, the task prolog), and one that
    --mem-bind names is the user's own.
    """
    given, nodes = _list(environment, CPUS), _list(environment, MEMS)
    added = added_cpus(environment, state.cpus)
    if added:
        return (
            f"undone: the program has set its own CPUs: given {format_cpulist(given)}, now "
            f"{format_cpulist(state.cpus)}; {_cost(added, local)}"
        )
    if nodes and set(state.policy.nodes) - set(nodes) and not bound_explicitly(environment)[1]:
        return (
            f"undone: the program has set its own memory policy: given nodes {format_cpulist(nodes)}, now "
            f"{state.policy}"
        )
    return None


def added_cpus(environment: Mapping[str, str], cpus: Sequence[int]) -> frozenset[int]:
    """The CPUs that a process has beyond those it was given (NUMA_ALIGN_CPUS); empty if it was given none."""
    given = _list(environment, CPUS)
    return frozenset(cpus).difference(given) if given else frozenset()


def _list(environment: Mapping[str, str], name: str) -> tuple[int, ...]:
    try:
        return known_list(environment.get(name, ""))
    except ValueError:
        return ()


def _cost(added: frozenset[int], local: AbstractSet[int]) -> str:
    """The CPUs on which it should not run but now may: far ones, and those that were given to others."""
    remote = len(added - local)
    if local and remote:
        beside = len(added) - remote
        others = f", {beside} may be other tasks'" if beside else ""
        return f"{remote} of them are not near its GPUs{others}"
    return f"{len(added)} of them may be other tasks'"
