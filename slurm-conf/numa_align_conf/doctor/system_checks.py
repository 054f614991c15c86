"""Checks of the kernel's settings, of the driver and of the machine itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

from numa_align.topology.contradictions import contradictions

from .model import Facts, Finding

#: How a kernel setting affects memory near GPUs; it is for the site to weigh and not a fault. The
#: figures are from docs/measurements.md.
_BALANCING = (
    "it leaves tasks with a memory policy alone, which --numa-align sets; without one, 100 MiB that were "
    "near had 8,000 page faults per second"
)
_NO_RECLAIM = (
    "memory of a node full of page cache goes elsewhere unless the policy is bind or preferred-many, which "
    "--numa-align sets"
)
_RECLAIM = (
    "every process on a full node waits for page cache to be dropped before it gets memory elsewhere; "
    "preferred-many, which --numa-align sets, keeps memory near without it"
)


def contradicting(facts: Facts) -> Iterator[Finding]:
    """NUMA nodes that contradict packages, or that the kernel does not know."""
    for sentence in contradictions(facts.topology) if facts.has_gpus else ():
        what, _, how = sentence.partition(": ")
        yield Finding("machine", "warn", what, how, "see `numa-align topo`")


def kernel_settings(facts: Facts) -> Iterator[Finding]:
    """kernel.numa_balancing and vm.zone_reclaim_mode, which only matter with several nodes."""
    if sum(node.kind == "cpu" for node in facts.topology.nodes) < 2:
        return
    balancing, reclaim = (facts.kernel.get(key) for key in ("numa_balancing", "zone_reclaim_mode"))
    if balancing is not None:
        price = "" if balancing == "0" else _BALANCING
        yield Finding("kernel", "ok", f"kernel.numa_balancing is {balancing}", price)
    if reclaim is not None:
        price = _NO_RECLAIM if reclaim == "0" else _RECLAIM
        yield Finding("kernel", "ok", f"vm.zone_reclaim_mode is {reclaim}", price)


_NEVER = "touching new memory took about three times as long in 4 KiB pages (one machine, measured)"
_HUGE = (
    "on a node full of page cache a burst of huge pages is faster than the kernel drops cache, and goes "
    "elsewhere; room=auto makes room before a job starts"
)


def huge_pages(facts: Facts) -> Iterator[Finding]:
    """Transparent huge pages, which have a price whether on or off."""
    chosen = re.search(r"\[(\w+)\]", facts.kernel.get("thp_enabled", ""))
    if chosen:
        price = _NEVER if chosen[1] == "never" else _HUGE
        yield Finding("huge-pages", "ok", f"transparent huge pages: {chosen[1]}", price)


def persistence(facts: Facts) -> Iterator[Finding]:
    """The driver's persistence mode."""
    if facts.persistence is None:
        return
    if facts.persistence:
        yield Finding("persistence", "ok", "persistence mode is on")
    else:
        cost = "the driver initialises each GPU again whenever it was idle: seconds per job"
        change = "systemctl enable --now nvidia-persistenced"
        yield Finding("persistence", "warn", "persistence mode of the GPUs is off", cost, change)


def copies(facts: Facts) -> Iterator[Finding]:
    """More NUMA nodes than sockets: what is copied to each node is copied more often."""
    nodes = sum(node.kind in ("cpu", "cpu-only") for node in facts.topology.nodes)
    packages = len({core.package for core in facts.topology.cores})
    if nodes > packages > 0:
        times = f"{nodes / packages:g}"
        yield Finding(
            "weight-copies",
            "warn",
            f"{nodes} NUMA nodes on {packages} packages",
            f"software that copies its weights to each NUMA node holds {nodes} copies: {times} times the "
            "memory of one copy per package",
            "tell such software to use one copy per package, or set NPS1 (AMD), SNC off (Intel) in the "
            "firmware",
        )
