"""A machine large enough to show how CPUs are divided, unlike hosts with two CPUs. The decision is pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from builder import Machine, on_nodes
from numa_align.placement.claim import Spec
from numa_align.placement.decide import Decision, ProcessRequest, decide
from numa_align.placement.own import Own

#: 2 x 56 cores, two threads each, four GPUs on each node: 224 CPUs.
BIG = Machine(packages=2, cores=56, smt=2, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1)).topology()
EVERY = BIG.online


def big(
    environment: Mapping[str, str],
    cpus: tuple[int, ...] = EVERY,
    *,
    rank: Optional[int] = None,
    count: Optional[int] = None,
    gpus: Optional[tuple[int, ...]] = None,
    openable: Optional[set[int]] = None,
    spec: Optional[Spec] = None,
    insists: bool = False,
) -> Decision:
    def may_open(device: str) -> bool:
        return openable is None or int(device[len("/dev/nvidia") :]) in openable

    request = ProcessRequest(spec or Spec(on=True), gpus, rank, count, insists)
    return decide(BIG, Own(cpus, EVERY, (0, 1)), environment, request, may_open)


def after(decision: Decision, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process, and of its children, once it was placed."""
    merged = {**environment, **decision.variables}
    return {name: value for name, value in merged.items() if value is not None}


#: A task that the plugin has aligned: all GPUs, and the map of them.
def aligned_task() -> dict[str, str]:
    return after(big({}), {})
