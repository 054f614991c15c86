"""Carries out a decision: binds the calling process's CPUs and memory, and reports the result.

Fails open, as the plugin does: if the kernel refuses, a warning is given and the program runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Optional

from ..errors import BindError, SpecError
from ..names import OPTION, STATE, VARIABLES, PolicyMode, State
from ..placement.claim import Spec, read_spec
from ..placement.decide import Decision, ProcessRequest, decide, note_of, warning_of, without_gpu
from ..placement.own import Own
from ..topology.model import Topology
from ..topology.read import read_here
from .affinity import bind_cpus, bind_threads, read_own, read_policy, set_policy


@dataclass(frozen=True)
class Applied:
    """A decision, and how far the kernel followed it.

    ``failures`` are sentences about what it refused, ``notes`` about what it did differently.
    """

    decision: Decision
    topology: Topology
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """The state, which is ``unaligned`` if the kernel refused."""
        return "unaligned" if self.failures else self.decision.placement.state

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on why the process is not aligned and what to request instead, () if it is aligned."""
        warning = warning_of(self.decision)
        return (*self.failures, *([warning] if warning else []), *self.decision.doubts)

    @property
    def hints(self) -> tuple[str, ...]:
        """Sentences for a process that is aligned but could have more."""
        note = note_of(self.decision)
        return (note,) if note else ()

    @property
    def objections(self) -> tuple[str, ...]:
        """Why ``strict`` fails: the remarks, or that there is no GPU to be near to."""
        blind = without_gpu(self.decision, self.topology)
        return (*self.remarks, *([blind] if blind and blind not in self.remarks else []))


def spec_of(text: Optional[str], environment: Mapping[str, str]) -> tuple[Spec, Optional[str]]:
    """The option's words, on top of NUMA_ALIGN, which a user sets for all steps; and a warning, or None.

    A wrong word in the variable does not stop a program that did not ask for it: the whole variable is then
    ignored, as in the plugin (spank/option.c). Raises SpecError for ``text``.
    """
    base, warning = Spec(on=True), None
    try:
        base = read_spec(environment.get(OPTION))
    except SpecError as error:
        reason = str(error).partition(": ")[2]
        warning = f"{OPTION} in the environment is ignored: {reason}"
    return (base if text is None else read_spec(text, base=base)), warning


def apply(topology: Topology, decision: Decision, *, threads: bool = False) -> Applied:
    """Bind the calling thread or, with ``threads``, all threads of its process."""
    failures, wanted = [], decision.placement.policy
    for bind in (_bind_cpus, _set_memory):
        try:
            decision = bind(decision, threads)
        except BindError as error:
            failures.append(str(error))
    return Applied(decision, topology, tuple(failures), _other_ways(wanted, decision.placement.policy))


def _other_ways(wanted: PolicyMode, policy: PolicyMode) -> tuple[str, ...]:
    """What the kernel did differently from what it was asked."""
    if wanted == "preferred-many" and policy in ("preferred", "local"):
        return (f"policy={policy} because this kernel has no preferred-many (Linux 5.15)",)
    return ()


def _bind_cpus(decision: Decision, threads: bool) -> Decision:
    placed = decision.placement
    if placed.binds_cpus and threads:
        bind_threads(placed.cpus)
    elif placed.binds_cpus:
        bind_cpus(0, placed.cpus)
    return decision


def _set_memory(decision: Decision, _threads: bool) -> Decision:
    placed = decision.placement
    if not placed.sets_memory:
        return decision
    if decision.kept:
        mode, nodes = read_policy()
        if mode != "default":  # set by the first placement, perhaps with other words
            return replace(decision, placement=replace(placed, policy=mode, memory_nodes=nodes))
    mode = set_policy(placed.policy, placed.memory_nodes)
    return replace(decision, placement=replace(placed, policy=mode))


def place_here(
    request: ProcessRequest,
    environment: MutableMapping[str, str],
    *,
    threads: bool = False,
    topology: Optional[Topology] = None,
    own: Optional[Own] = None,
) -> Applied:
    """Decide for this process, bind it, and describe the result in its environment.

    Raises NumaAlignError (RequestError, ClaimError, TableError) if nothing can be decided; nothing is bound
    then.
    """
    machine = topology or read_here(environment)
    decision = decide(machine, own or read_own(), environment, request)
    applied = apply(machine, decision, threads=threads)
    for name in VARIABLES:
        value = applied.decision.variables.get(name)
        if name == STATE:
            value = applied.state
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    return applied


def thread_count() -> int:
    """The number of threads of the calling process."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208
