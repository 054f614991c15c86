"""What is known of each node, from ``numa-align topo --json`` of one node or of ten thousand.

Nodes of a cluster come in a few kinds. The text of each file, without what differs between equal nodes (name,
UUIDs, sizes of memory), is the kind's key, so that only one file of each kind is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Optional

from numa_align.errors import ConfError, TopologyError
from numa_align.slurm_files.hostlist import MAX_NODES, HostlistError, expand, fold
from numa_align.topology.as_json import from_json
from numa_align.topology.model import Topology

_SIZE_LIMIT = 8 << 20

_NAME = re.compile(r'^(\{"version": ?\d+,\s*)"name": ?(?:null|"([^"\\]*)"),\s*')
_UUID = re.compile(r'"uuid": ?(?:null|"[^"\\]*")')
_MEMORY = re.compile(r'"memory_bytes": ?(\d+)')

# Characters of a name that Slurm could take as a list or a comment, and control characters.
_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

# Equal nodes differ by the memory that firmware and kernel keep; with more difference they are not equal.
_SAME_MEMORY = 0.03


@dataclass(frozen=True)
class NodeFacts:
    """A machine, with what only its own software can tell.

    ``links[i][j]``: NVLinks between the GPUs i and j in the order of ``topology.gpus``, None if NVML was not
    asked. ``divided``: minors of GPUs that have MIG instances. ``render_nodes``: by ``/dev/dri/cardN``.
    """

    topology: Topology
    links: Optional[tuple[tuple[int, ...], ...]] = None
    divided: frozenset[int] = frozenset()
    render_nodes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """Nodes that are alike: their names, one machine that represents all, the least memory of all in MiB."""

    names: tuple[str, ...]
    machine: NodeFacts
    memory_mib: int

    @property
    def topology(self) -> Topology:
        """The machine's topology."""
        return self.machine.topology

    @cached_property
    def folded(self) -> str:
        """The names in Slurm's notation, ``gpu[01-16]``."""
        return fold(self.names)


def unfold(hostlist: str) -> tuple[str, ...]:
    """The names of a hostlist in its order. Raises ConfError for anything else."""
    try:
        return expand(hostlist, MAX_NODES)
    except HostlistError as error:
        raise ConfError(f"{hostlist[:60]!r} is not a list of nodes: {error}") from error


def host_memory_mib(topology: Topology) -> int:
    """MiB that Slurm may give out: the memory of all nodes except that of GPUs, as slurmd rounds it."""
    return sum(node.memory_bytes for node in topology.nodes if node.kind != "gpu-memory") >> 20


def kind_of_one(name: str, machine: NodeFacts) -> Kind:
    """A kind with a single node."""
    return Kind((check_name(name, "--node"),), machine, host_memory_mib(machine.topology))


def check_name(name: str, where: str) -> str:
    """The name, if Slurm can accept it as a node's."""
    if not _NODE_NAME.fullmatch(name):
        raise ConfError(f"{where}: {name[:60]!r} is not the name of a node")
    return name


@dataclass(frozen=True)
class _File:
    """One node's file: its kind's key, and what was taken out of it."""

    path: Path
    name: str
    key: str
    memory: tuple[int, ...]


def _load(path: Path) -> _File:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_SIZE_LIMIT)
    except OSError as error:
        raise ConfError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfError(f"{path}:1: is not what `numa-align topo --json` prints") from None
    memory: list[int] = []

    def take(match: re.Match[str]) -> str:
        memory.append(int(match[1]))
        return '"memory_bytes":0' if match[1] == "0" else '"memory_bytes":1'

    named = _NAME.match(text)
    text = _NAME.sub(r"\1", text, count=1)
    key = _MEMORY.sub(take, _UUID.sub('"uuid":null', text))
    name = (named[2] if named else None) or path.name.removesuffix(".json")
    return _File(path, check_name(name, str(path)), key, tuple(memory))


def read_kinds(paths: Iterable[Path]) -> tuple[Kind, ...]:
    """The kinds of node among files, and folders of files, of ``numa-align topo --json``; sorted by name.

    A file without a name gets it from its own name, ``gpu01.json`` or ``gpu01``. Raises ConfError for any
    other file, and for a node with two files that differ.
    """
    loaded: dict[str, _File] = {}
    for path in paths:
        for member in sorted(path.iterdir()) if path.is_dir() else [path]:
            if member.name.startswith("."):
                continue
            file = _load(member)
            other = loaded.setdefault(file.name, file)
            if (other.key, other.memory) != (file.key, file.memory):
                raise ConfError(f"{file.path}: differs from {other.path} about node {file.name}")
    if not loaded:
        raise ConfError("no facts: name files of `numa-align topo --json`, or a folder that has some")
    by_key: dict[str, list[_File]] = {}
    for file in loaded.values():
        by_key.setdefault(file.key, []).append(file)
    kinds = [kind for files in by_key.values() for kind in _kinds(files)]
    return tuple(sorted(kinds, key=lambda kind: kind.names[0]))


def _kinds(files: Sequence[_File]) -> Iterable[Kind]:
    """Nodes of one key, divided if their memory differs by more than that of equal nodes does."""
    topology = parse_topology(files[0].key, files[0].path)
    host = [i for i, node in enumerate(topology.nodes) if node.kind != "gpu-memory"]
    sized = sorted((sum(file.memory[i] for i in host) >> 20, file.name) for file in files)
    group: list[str] = []
    least = sized[0][0]
    for memory, name in sized:
        if memory > least * (1 + _SAME_MEMORY):
            yield Kind(tuple(sorted(group)), NodeFacts(topology), least)
            group, least = [], memory
        group.append(name)
    yield Kind(tuple(sorted(group)), NodeFacts(topology), least)


def parse_topology(text: str, path: Path) -> Topology:
    """The machine that a file of gathered facts describes. Raises ConfError, which names the file."""
    try:
        topology = from_json(text, str(path))
    except TopologyError as error:
        raise ConfError(str(error)) from None
    check_topology(topology, str(path))
    return topology


def check_topology(topology: Topology, path: str) -> None:
    """Raises ConfError for contradictions that would lead to wrong configuration."""
    online, nodes = set(topology.online), {node.id for node in topology.nodes}
    in_cores = [cpu for core in topology.cores for cpu in core.cpus]
    if not online or sorted(in_cores) != sorted(online) or not all(core.cpus for core in topology.cores):
        raise ConfError(f"{path}: its facts conflict: the cores' CPUs are not the online CPUs")
    if not all(online.issuperset(node.cpus) for node in topology.nodes):
        raise ConfError(f"{path}: its facts conflict: a node has CPUs that are not online")
    for gpu in topology.gpus:
        if not online.issuperset(gpu.cpus) or (gpu.node is not None and gpu.node not in nodes):
            raise ConfError(
                f"{path}: its facts conflict: GPU {gpu.bdf} is near CPUs or a node that do not exist"
            )
    minors = [(gpu.vendor, gpu.minor) for gpu in topology.gpus if gpu.minor is not None]
    if len(set(minors)) != len(minors):
        raise ConfError(f"{path}: its facts conflict: two GPUs have the same minor")
