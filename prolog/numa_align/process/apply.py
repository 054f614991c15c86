"""A decision made real: CPUs and memory policy of the calling process, and what it says about them.

Fails open, as the plugin does: what the kernel refuses is a warning, and the program runs.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from typing import Optional

from ..errors import BindError, SpecError
from ..placement.claim import Spec, read_spec
from ..placement.decide import VARIABLES, Decision, Request, decide, warning_of
from ..placement.own import Own
from ..topology.model import Topology
from ..topology.read import read_topology
from .affinity import bind_cpus, bind_threads, read_own, set_policy


@dataclass(frozen=True)
class Applied:
    """A decision as far as the kernel followed it.

    ``failures`` are sentences about what it refused, ``notes`` about what it did in another way.
    """

    decision: Decision
    topology: Topology
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """The state, ``unaligned`` where the kernel refused."""
        return "unaligned" if self.failures else self.decision.placement.state

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences about why the process is not aligned and what to request instead, () if it is."""
        warning = warning_of(self.decision)
        return (*self.failures, *([warning] if warning else []))


def spec_of(text: Optional[str], environment: MutableMapping[str, str]) -> Spec:
    """The option's words over those of NUMA_ALIGN, which a user sets for all steps.

    A wrong word in the variable is no reason to stop a program that did not name it. Raises SpecError.
    """
    try:
        base = read_spec(environment.get("NUMA_ALIGN"))
    except SpecError:
        base = Spec(on=True)
    return base if text is None else read_spec(text, base=base)


def apply(topology: Topology, decision: Decision, *, threads: bool = False) -> Applied:
    """Bind the calling process, with ``threads`` all that it has, else the calling one only."""
    placed, failures, notes = decision.placement, [], []
    try:
        if placed.binds_cpus and threads:
            bind_threads(placed.cpus)
        elif placed.binds_cpus:
            bind_cpus(0, placed.cpus)
    except BindError as error:
        failures.append(str(error))
    if placed.sets_memory:
        try:
            mode = set_policy(placed.policy, placed.memory_nodes)
            if mode in ("preferred", "local") and placed.policy == "preferred-many":
                notes.append(f"policy={mode} because this kernel has no preferred-many (Linux 5.15)")
            decision = replace(decision, placement=replace(placed, policy=mode))
        except BindError as error:
            failures.append(str(error))
    return Applied(decision, topology, tuple(failures), tuple(notes))


def place_here(
    request: Request,
    environment: MutableMapping[str, str],
    *,
    threads: bool = False,
    topology: Optional[Topology] = None,
    own: Optional[Own] = None,
) -> Applied:
    """Decide for this process, bind it, and say so in its environment.

    Raises NumaAlignError (RequestError, ClaimError, TableError) where nothing can be decided; then nothing
    was bound.
    """
    machine = topology or read_topology(node_name=environment.get("SLURMD_NODENAME"))
    decision = decide(machine, own or read_own(), environment, request)
    applied = apply(machine, decision, threads=threads)
    for name in VARIABLES:
        value = applied.decision.variables.get(name)
        if name == "NUMA_ALIGN_STATE":
            value = applied.state
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    return applied


def thread_count() -> int:
    """Threads of the calling process."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208
