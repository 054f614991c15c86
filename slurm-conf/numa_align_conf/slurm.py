"""slurm.conf: the nodes, and the settings with which jobs can be placed near their GPUs.

Source: slurm.conf(5) of the versions named. Only settings for this program and for GPUs are made; the rest of
slurm.conf belongs to the site.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from .facts import Kind
from .gres import comment, gres_of, layouts
from .layout import PARAMETERS, Layout, restricted_at_most
from .version import Version

#: Seconds. The scripts stop after 10; Slurm's own limit is the last resort, as it drains the node.
PROLOG_LIMIT = 60


@dataclass(frozen=True)
class Setting:
    """One line of slurm.conf with its reason.

    ``rule`` says what happens to a line that a site already has: ``replace`` it; ``add`` words that are
    missing; ``names``: the same, if the case of a word matters; ``keep`` it, as any chosen value is as
    good; ``raise`` a smaller number; ``beside``: Slurm runs the scripts of several lines, so ours is
    added as another; ``call``: Slurm runs one script, and the site's has to call ours.
    """

    key: str
    value: str
    reason: str
    rule: str = "replace"

    def lines(self) -> Iterator[str]:
        """Reason and line."""
        yield from comment(self.reason)
        yield f"{self.key}={self.value}"


def settings(kinds: Sequence[Kind], version: Version, sbin: str = "/usr/sbin") -> tuple[Setting, ...]:
    """The settings outside the NodeName lines, in the order in which they are written."""
    found = [*_placement(version), *_sockets(layouts(kinds, version), version), *_scripts(version, sbin)]
    if any(kind.topology.gpus for kind in kinds):
        found.insert(0, Setting("GresTypes", "gpu", "GPUs are a resource of their own.", rule="names"))
    return tuple(found)


def _placement(version: Version) -> Iterator[Setting]:
    yield Setting("SelectType", "select/cons_tres", "The only selector that supports GPUs and their cores.")
    if version.enforces_by_default:
        yield Setting(
            "SelectTypeParameters",
            "CR_Core,ENFORCE_BINDING_GRES",
            "ENFORCE_BINDING_GRES (from 23.11.2 on): only cores near a job's GPUs are given with them, so "
            "that jobs may wait longer; --gres-flags=disable-binding opts out. CR_Core_Memory in place of "
            "CR_Core counts memory too.",
            rule="add",
        )
    else:
        yield Setting(
            "SelectTypeParameters",
            "CR_Core",
            f"Slurm {version} has no ENFORCE_BINDING_GRES: jobs ask for cores near their GPUs by "
            "--gres-flags=enforce-binding, or `numa-align conf lua` has it added for them. CR_Core_Memory "
            "in place of CR_Core counts memory too.",
            rule="add",
        )
    yield Setting(
        "TaskPlugin",
        "task/affinity,task/cgroup",
        "affinity binds tasks to the CPUs chosen for them, cgroup keeps them from those of others.",
    )
    yield Setting(
        "TaskPluginParam",
        "autobind=cores",
        "A task is bound to cores, not to threads of different ones, where Slurm binds at all.",
        rule="add",
    )
    yield Setting("ProctrackType", "proctrack/cgroup", "What task/cgroup builds upon.")


def _sockets(chosen: Sequence[Layout], version: Version) -> Iterator[Setting]:
    words = {PARAMETERS[layout.kind] for layout in chosen} - {None}
    if words and not version.has_node_parameters:
        yield Setting(
            "SlurmdParameters",
            ",".join(sorted(str(word) for word in words)),
            "gres.conf may name whole sockets only, and NUMA nodes are smaller than packages: slurmd is to "
            "count them as sockets, on all nodes. Sockets and CoresPerSocket below are counted so too.",
            rule="add",
        )


def _scripts(version: Version, sbin: str) -> Iterator[Setting]:
    rule = "beside" if version.runs_several_scripts else "call"
    yield Setting(
        "Prolog",
        f"{sbin}/numa-align-prolog",
        "Describes the node for the plugin, in 0.1 s per job and node. Must exist on every node: a Prolog "
        "that cannot be run drains the node.",
        rule,
    )
    yield Setting("Epilog", f"{sbin}/numa-align-epilog", "Removes that description.", rule)
    yield Setting(
        "PrologFlags",
        "Alloc,Contain",
        "Alloc: the Prolog runs before the first task starts, on every node of the job. Contain: processes "
        "of ssh sessions count to the job, and its description stays for as long as it runs.",
        rule="add",
    )
    reason = f"The scripts end within 10 s; Slurm's default is to wait for ever, {PROLOG_LIMIT} s are ample."
    keys = ("PrologTimeout", "EpilogTimeout") if version.has_two_time_limits else ("PrologEpilogTimeout",)
    for key in keys:
        yield Setting(key, str(PROLOG_LIMIT), reason, "keep")
    if version.compares_batch_start:
        yield Setting(
            "BatchStartTimeout",
            str(PROLOG_LIMIT),
            f"Slurm {version} warns at each start where this is less than the prolog's limit: a batch job "
            "whose prolog took longer might be considered lost. The default is 10.",
            "raise",
        )


@dataclass(frozen=True)
class NodeLine:
    """The NodeName line of a kind of node: keys and values in the order in which they are written."""

    names: tuple[str, ...]
    folded: str
    values: tuple[tuple[str, str], ...]
    remark: Optional[str] = None

    def text(self) -> str:
        """The line."""
        return f"NodeName={self.folded} " + " ".join(f"{key}={value}" for key, value in self.values)


def node_line(kind: Kind, layout: Layout, version: Version) -> NodeLine:
    """The shape of the node as slurmd counts it, with Gres=; the least memory of all nodes of the kind."""
    values = [
        *((("CPUs", str(layout.cpus)),) if layout.is_even else ()),
        ("Boards", "1"),
        ("SocketsPerBoard", str(len(layout.sockets))),
        ("CoresPerSocket", str(layout.cores_per_socket)),
        ("ThreadsPerCore", str(layout.threads)),
        ("RealMemory", str(kind.memory_mib)),
    ]
    parameter = PARAMETERS[layout.kind]
    if parameter is not None and version.has_node_parameters:
        values.append(("Parameters", parameter))
    remarks = []
    gres = gres_of(kind, layout, version).in_slurm_conf
    if kind.machine.divided:
        remarks.append(
            "no Gres=: GPUs have MIG instances, each a gres of its own type, and the driver's files do not "
            "tell the profiles. `slurmd -C` (from 24.11 on) and `slurmd -G` on the node name them."
        )
    elif gres:
        values.append(("Gres", gres))
    most = restricted_at_most(layout, kind.topology.gpus) if gres and version.restricts_cores else 0
    if most:
        remarks.append(
            f"RestrictedCoresPerGPU=N in this line, N up to {most}, keeps N cores near each GPU for jobs "
            "that ask for GPUs: jobs without GPUs have that many fewer. The choice is yours."
        )
    if not layout.is_even:
        remarks.append(
            "no CPUs=: it is not the product of sockets, cores and threads, and every daemon and command "
            "would complain of it."
        )
    if layout.flaw is not None:
        remarks.append(f"{layout.flaw}. Compare with `slurmd -C` on the node.")
    remark = f"{kind.folded}: {' '.join(remarks)}" if remarks else None
    return NodeLine(kind.names, kind.folded, tuple(values), remark)


def node_lines(kinds: Sequence[Kind], version: Version) -> tuple[NodeLine, ...]:
    """One line per kind of node."""
    return tuple(node_line(kind, layout, version) for kind, layout in zip(kinds, layouts(kinds, version)))


def slurm_conf(kinds: Sequence[Kind], version: Version, sbin: str = "/usr/sbin") -> str:
    """The lines for slurm.conf, with reasons."""
    lines = list(
        comment(
            f"For slurm.conf of Slurm {version}, by numa-align conf slurm: what GPUs and numa-align need. "
            "`numa-align conf slurm --diff /etc/slurm/slurm.conf` shows what it would change in yours."
        )
    )
    for setting in settings(kinds, version, sbin):
        lines += ["", *setting.lines()]
    counted = "Sockets, cores and threads as slurmd counts them; RealMemory is that of the node with least."
    lines += ["", *comment(counted)]
    for line in node_lines(kinds, version):
        lines += [*(comment(line.remark) if line.remark else ()), line.text()]
    return "\n".join(lines) + "\n"
