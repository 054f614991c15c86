"""A binding in the syntax of programs that start processes: numactl, taskset, systemd, a shell. Pure."""

from __future__ import annotations

import shlex

from .shown import Binding, Shown


def numactl(binding: Binding) -> Shown:
    """Options of numactl(8), which can set every policy."""
    placement = binding.placement
    words = {
        "preferred": "--preferred={}",
        "preferred-many": "--preferred-many={}",
        "bind": "--membind={}",
        "interleave": "--interleave={}",
        "local": "--localalloc",
    }
    parts = [f"--physcpubind={binding.cpus}"]
    if placement.policy in words:
        parts.append(words[placement.policy].format(binding.nodes))
    notes: tuple[str, ...] = ()
    if placement.policy == "preferred-many":
        instead = f"; before: --preferred={binding.nodes}" if len(placement.memory_nodes) == 1 else ""
        notes = (f"--preferred-many needs numactl 2.0.15 and Linux 5.15{instead}",)
    return Shown(" ".join(parts), notes)


def taskset(binding: Binding) -> Shown:
    """Options of taskset(1)."""
    return Shown(
        f"--cpu-list {binding.cpus}",
        ("taskset sets no memory policy: memory comes from the node of whichever CPU touches it first",),
    )


def systemd(binding: Binding) -> Shown:
    """A drop-in of a service (systemd.exec(5), systemd.resource-control(5))."""
    placement = binding.placement
    lines = ["# /etc/systemd/system/NAME.service.d/numa-align.conf; then: systemctl daemon-reload"]
    lines += ["[Service]", f"CPUAffinity={binding.cpus}"]
    notes: tuple[str, ...] = ()
    if placement.policy == "preferred-many" and len(placement.memory_nodes) == 1:
        lines += ["NUMAPolicy=preferred", f"NUMAMask={binding.nodes}"]
        notes = (
            "systemd has no preferred-many: with preferred, a node full of page cache sends memory elsewhere",
        )
    elif placement.policy == "preferred-many":
        # systemd.exec(5) has no preferred-many; local, the node of the running CPU, is nearest to it.
        lines.append("NUMAPolicy=local")
        notes = ("systemd has no policy that prefers several nodes; local takes that of the running CPU",)
    elif placement.policy == "local":
        lines.append("NUMAPolicy=local")
    elif placement.policy != "default":
        lines += [f"NUMAPolicy={placement.policy}", f"NUMAMask={binding.nodes}"]
    if binding.limit_mib is not None:
        lines.append(f"MemoryMax={binding.limit_mib}M")
    lines += [f"Environment={name}={value}" for name, value in binding.runtime_variables().items()]
    return Shown("\n".join(lines), notes)


def env(binding: Binding) -> Shown:
    """The variables that the plugin and `run` set, without those that are only removed."""
    pairs = ((name, value) for name, value in binding.decision.variables.items() if value is not None)
    lines = (f"export {name}={shlex.quote(value)}" for name, value in pairs)
    return Shown("\n".join(lines), ("variables bind nothing: `numa-align run` does",))
