"""Checks of the kernel's settings, of the driver and of the machine as such."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .model import Facts, Finding

_SYSCTLS = (
    (
        "numa_balancing",
        "kernel.numa_balancing",
        "the kernel unmaps pages to see who uses them and moves them; tasks that are bound pay faults for "
        "nothing",
    ),
    (
        "zone_reclaim_mode",
        "vm.zone_reclaim_mode",
        "a node gives up its file cache before memory of another node is used: data is read again",
    ),
)


def kernel_settings(facts: Facts) -> Iterator[Finding]:
    """kernel.numa_balancing and vm.zone_reclaim_mode, which only matter with several nodes."""
    several = sum(node.kind == "cpu" for node in facts.topology.nodes) > 1
    for short, name, cost in _SYSCTLS:
        value = facts.kernel.get(short)
        if value is None or (not several and value != "0"):
            continue
        if value == "0":
            yield Finding("kernel", "ok", f"{name} is 0")
        else:
            change = f"/etc/sysctl.d/90-numa-align.conf: {name} = 0"
            yield Finding("kernel", "warn", f"{name} is {value}", cost, change)


def huge_pages(facts: Facts) -> Iterator[Finding]:
    """Transparent huge pages: off, or so eager that faults wait for compaction."""
    chosen = {
        key: re.search(r"\[(\w+)\]", facts.kernel.get(key, "")) for key in ("thp_enabled", "thp_defrag")
    }
    enabled = chosen["thp_enabled"][1] if chosen["thp_enabled"] else None
    defrag = chosen["thp_defrag"][1] if chosen["thp_defrag"] else None
    folder = "/sys/kernel/mm/transparent_hugepage"
    if enabled == "never":
        cost = "large host buffers take 512 times the page table entries"
        yield Finding(
            "huge-pages", "warn", "transparent huge pages are off", cost, f"{folder}/enabled: madvise"
        )
    elif enabled == "always" and defrag == "always":
        cost = "page faults wait while the kernel compacts memory, above all on a node that is nearly full"
        change = f"{folder}/defrag: madvise"
        yield Finding("huge-pages", "warn", "transparent huge pages: defrag is always", cost, change)
    elif enabled is not None:
        yield Finding("huge-pages", "ok", f"transparent huge pages: {enabled}")


def persistence(facts: Facts) -> Iterator[Finding]:
    """The driver's persistence mode."""
    if facts.persistence is None:
        return
    if facts.persistence:
        yield Finding("persistence", "ok", "persistence mode is on")
    else:
        cost = "the driver initialises each GPU again whenever it was idle: seconds a job"
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
            "memory of one copy a package",
            "tell such software to use one copy a package, or set NPS1 (AMD), SNC off (Intel) in the "
            "firmware",
        )
