"""From facts to the text that ``numa-align conf`` prints."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from numa_align.errors import ConfError
from numa_align.slurm_files.conffile import read_conf
from numa_align.slurm_files.gres_lines import gpu_lines
from numa_align.slurm_files.node_lines import node_lines as declarations
from numa_align.slurm_files.render_nodes import render_nodes
from numa_align.sysfs import Tree
from numa_align.topology.gpu import nvml
from numa_align.topology.gpu.nvidia import mig_instances
from numa_align.topology.read import read_at

from . import edit
from .facts import Kind, NodeFacts, check_topology, host_memory_mib, kind_of_one, read_kinds, unfold
from .gres import gres_conf
from .gres_words import entries_of, wanted_gpus
from .others import cgroup_conf, cli_filter_lua, plugstack_conf
from .plugstack import as_one, edited_plugstack, read_stack
from .slurm import node_lines, settings, slurm_conf
from .version import Version

#: What `all` prints, in this order: part, file.
FILES = (
    ("gres", "/etc/slurm/gres.conf"),
    ("slurm", "/etc/slurm/slurm.conf (lines for it)"),
    ("cgroup", "/etc/slurm/cgroup.conf"),
    ("plugstack", "/etc/slurm/plugstack.conf.d/numa-align.conf"),
)


@dataclass(frozen=True)
class ConfRequest:
    """The input of generators: nodes, version, where numa-align is installed, the site's words."""

    kinds: tuple[Kind, ...]
    version: Version
    prefix: str = "/usr"
    defaults: str = ""

    @property
    def sbin(self) -> str:
        """Where prolog and epilog are."""
        return f"{self.prefix}/sbin"

    @property
    def library(self) -> str:
        """Where the plugin is."""
        return f"{self.prefix}/lib/numa-align/numa-align.so"


def read_machine(root: str) -> NodeFacts:
    """The machine below ``root``; the live one's NVML is asked too. Raises TopologyError if there is none."""
    topology = read_at(root, strict=True)
    check_topology(topology, root)
    tree = Tree(root)
    nvidia = [gpu for gpu in topology.gpus if gpu.vendor == "nvidia"]
    minors = [gpu.minor for gpu in nvidia if gpu.minor is not None]
    divided = frozenset(minor for minor in minors if mig_instances(tree, minor))
    asks = tree.is_live and len(nvidia) == len(topology.gpus) > 1
    links = nvml.links([gpu.bdf for gpu in nvidia]) if asks else None
    return NodeFacts(topology, links, divided, render_nodes(tree, topology.gpus))


def kinds_of_machine(root: str, names: Sequence[str]) -> tuple[Kind, ...]:
    """The one kind of a machine; ``names`` are the nodes that are like it, by default this host."""
    machine = read_machine(root)
    every = [name for part in names for name in unfold(part)]
    if not every:
        if not Tree(root).is_live:
            raise ConfError(f"{root}: give --node NAME: a recording does not contain the node's name")
        every = [os.environ.get("SLURMD_NODENAME") or os.uname().nodename.partition(".")[0]]
    if len(every) == 1:
        return (kind_of_one(every[0], machine),)
    return (Kind(tuple(sorted(set(every))), machine, host_memory_mib(machine.topology)),)


def kinds_of_files(paths: Iterable[Path], names: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds of node that files describe, only those of ``names`` if there are any."""
    kinds = read_kinds(paths)
    if not names:
        return kinds
    wanted = {name for part in names for name in unfold(part)}
    missing = wanted.difference(*(kind.names for kind in kinds))
    if missing:
        raise ConfError(f"--node {sorted(missing)[0]}: none of the files describes it")
    chosen = [(kind, tuple(name for name in kind.names if name in wanted)) for kind in kinds]
    return tuple(Kind(some, kind.machine, kind.memory_mib) for kind, some in chosen if some)


def generate(part: str, request: ConfRequest) -> str:
    """The text of a part: gres, slurm, cgroup, plugstack, lua, or all."""
    kinds, version = request.kinds, request.version
    if part == "gres":
        return gres_conf(kinds, version)
    if part == "slurm":
        return slurm_conf(kinds, version, request.sbin)
    if part == "cgroup":
        return cgroup_conf()
    if part == "plugstack":
        return plugstack_conf(request.library, request.defaults)
    if part == "lua":
        return cli_filter_lua(version)
    files = [*FILES, *(() if version.enforces_by_default else (("lua", "/etc/slurm/cli_filter.lua"),))]
    return "\n".join(f"{_rule(file, name)}\n{generate(name, request)}" for name, file in files)


def _rule(file: str, part: str) -> str:
    mark = "--" if part == "lua" else "#"
    return f"{mark} ==== {file} ".ljust(100, "=")


def other_gpu_nodes(gres_conf_path: Path, names: Sequence[str]) -> Optional[frozenset[str]]:
    """The other nodes with GPUs in slurm.conf beside gres.conf; None if they cannot be determined."""
    try:
        file = read_conf(gres_conf_path.with_name("slurm.conf"), "slurm.conf")
    except ConfError:
        return None
    declared = [line for line in declarations(file.lines) if wanted_gpus(line.settings.get("gres", ""))]
    found = {name for line in declared for name in unfold(line.names)}
    return frozenset(found - set(names)) if found or not file.value("maxnodecount") else None


def declared_types(gres_conf_path: Path, names: Sequence[str]) -> frozenset[Optional[str]]:
    """The types of these nodes' GPUs in slurm.conf beside gres.conf, None for an entry without one."""
    try:
        file = read_conf(gres_conf_path.with_name("slurm.conf"), "slurm.conf")
    except ConfError:
        return frozenset()
    found = (line for line in declarations(file.lines) if not set(names).isdisjoint(unfold(line.names)))
    entries = (entry for line in found for entry in entries_of(line.settings.get("gres", "")))
    return frozenset(entry.type for entry in entries if entry.for_gpus)


def listed_types(slurm_conf_path: Path, names: Sequence[str]) -> frozenset[Optional[str]]:
    """The types of these nodes' GPUs in gres.conf beside slurm.conf, None for a line without one."""
    try:
        file = read_conf(slurm_conf_path.with_name("gres.conf"), "gres.conf")
        # Nodes of a kind are written alike: the first and the last represent ten thousand.
        lines = [line for name in {names[0], names[-1]} for line in gpu_lines(file, name)]
    except ConfError:
        return frozenset()
    return frozenset(line.type for line in lines if line.named and line.devices)


def compare(part: str, request: ConfRequest, path: Path) -> str:
    """The changes to the file at ``path`` and its includes, as by diff -u; empty if there are none."""
    kinds, version = request.kinds, request.version
    if part == "plugstack":
        stack = read_stack(path)
        return edit.difference(as_one(stack), edited_plugstack(stack, generate(part, request)))
    file = read_conf(path, f"{part}.conf")
    if part == "gres":
        names = [name for kind in kinds for name in kind.names]
        others = other_gpu_nodes(path, names)
        types = declared_types(path, names)
        cards = {card: node for kind in kinds for card, node in kind.machine.render_nodes.items()}
        new = edit.edited_gres(file, gres_conf(kinds, version), names, others, cards=cards, types=types)
        return edit.difference(file, new)
    if part == "cgroup":
        return edit.difference(file, edit.edited_cgroup(file))
    wanted = settings(kinds, version, request.sbin)
    nodes = [edit.with_type(node, listed_types(path, node.names)) for node in node_lines(kinds, version)]
    return edit.difference(file, edit.edited_slurm(file, wanted, nodes))
