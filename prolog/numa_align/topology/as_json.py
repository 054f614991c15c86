"""The machine as JSON, written and read: what ``numa-align topo --json`` prints (docs/topology.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Optional, TypedDict

from ..cpulist import format_cpulist, parse_cpulist
from ..errors import TopologyError
from ..json_fields import read_fields
from ..names import NodeKind, PathWord, Source
from .gpu.vendors import VENDORS
from .model import Attached, Core, Disk, Gpu, Nic, Node, Topology

VERSION = 1

#: Lists with one element per line.
_LINES = ("nodes", "distances", "gpus", "nics", "disks")

#: A list instead of an object, as a machine has hundreds of cores: CPUs, node, package, last-level cache.
CoreFields = tuple[str, Optional[int], int, int]


def to_json(topology: Topology, name: Optional[str] = None, attached: Optional[Attached] = None) -> str:
    """The machine in the schema of docs/topology.md, one line for each node and each device.

    Without ``attached``, ``nics`` and ``disks`` are left out: empty lists would mean that there are none.
    """
    fields: TopologyFields = {
        "version": VERSION,
        "name": name,
        "cpus": {"online": format_cpulist(topology.online)},
        "nodes": [_node_fields(node) for node in topology.nodes],
        "distances": [list(row) for row in topology.distances],
        "gpus": [_gpu_fields(gpu) for gpu in topology.gpus],
        "cores": [_core_fields(core) for core in topology.cores],
    }
    if attached is not None:
        fields["nics"] = [_nic_fields(nic, topology) for nic in attached.nics]
        fields["disks"] = [_disk_fields(disk, topology) for disk in attached.disks]
    texts = {key: _json_lines(value) if key in _LINES else json.dumps(value) for key, value in fields.items()}
    texts["cores"] = texts.pop("cores")  # the longest comes last
    return "{" + ",\n ".join(f'"{key}": {text}' for key, text in texts.items()) + "}"


def _json_lines(elements: object) -> str:
    assert isinstance(elements, list)
    return "[" + ",\n  ".join(map(json.dumps, elements)) + "]"


class NodeFields(TypedDict):
    """A NUMA node in JSON; docs/topology.md describes the fields."""

    id: int
    cpus: str
    memory_bytes: int
    kind: NodeKind


class GpuFields(TypedDict):
    """A GPU in JSON."""

    vendor: str
    bdf: str
    minor: Optional[int]
    uuid: Optional[str]
    model: Optional[str]
    index: Optional[int]
    node: Optional[int]
    source: Source
    cpus: str
    memory_nodes: list[int]


class DeviceFields(TypedDict):
    """Fields that cards and disks share in JSON; ``paths`` is by the addresses of the GPUs."""

    bdf: str
    name: Optional[str]
    node: Optional[int]
    source: Source
    paths: dict[str, PathWord]


class NicFields(DeviceFields):
    """A network card in JSON."""

    kind: str
    rdma: bool
    interfaces: list[str]
    ports: list[int]
    up: Optional[bool]
    physical: Optional[str]
    bond: Optional[str]


class DiskFields(DeviceFields):
    """An NVMe disk in JSON."""

    model: Optional[str]


class CpusFields(TypedDict):
    """The CPUs of a machine in JSON."""

    online: str


class MachineFields(TypedDict):
    """What ``topo --json`` prints and `from_json` needs."""

    version: int
    cpus: CpusFields
    nodes: list[NodeFields]
    distances: list[list[int]]
    gpus: list[GpuFields]
    cores: list[CoreFields]


class TopologyFields(MachineFields, total=False):
    """All that ``topo --json`` prints."""

    name: Optional[str]
    nics: list[NicFields]
    disks: list[DiskFields]


def _node_fields(node: Node) -> NodeFields:
    return {
        "id": node.id,
        "cpus": format_cpulist(node.cpus),
        "memory_bytes": node.memory_bytes,
        "kind": node.kind,
    }


def _core_fields(core: Core) -> CoreFields:
    return format_cpulist(core.cpus), core.node, core.package, core.llc


def _gpu_fields(gpu: Gpu) -> GpuFields:
    return {
        "vendor": gpu.vendor,
        "bdf": gpu.bdf,
        "minor": gpu.minor,
        "uuid": gpu.uuid,
        "model": gpu.model,
        "index": gpu.index,
        "node": gpu.node,
        "source": gpu.source,
        "cpus": format_cpulist(gpu.cpus),
        "memory_nodes": list(gpu.memory_nodes),
    }


def _nic_fields(nic: Nic, topology: Topology) -> NicFields:
    return {
        "bdf": nic.bdf,
        "name": nic.name,
        "kind": nic.kind,
        "rdma": nic.for_rdma,
        "interfaces": list(nic.interfaces),
        "ports": list(nic.ports),
        "up": nic.up,
        "physical": nic.physical,
        "bond": nic.bond,
        "node": nic.node,
        "source": nic.source,
        "paths": _paths_fields(nic.paths, topology),
    }


def _disk_fields(disk: Disk, topology: Topology) -> DiskFields:
    return {
        "bdf": disk.bdf,
        "name": disk.name,
        "model": disk.model,
        "node": disk.node,
        "source": disk.source,
        "paths": _paths_fields(disk.paths, topology),
    }


def _paths_fields(paths: Sequence[PathWord], topology: Topology) -> dict[str, PathWord]:
    return {gpu.bdf: path for gpu, path in zip(topology.gpus, paths)}


def from_json(text: str, path: str) -> Topology:
    """The machine that ``numa-align topo --json`` described (docs/topology.md); ``path`` is for messages.

    Raises TopologyError with the line if it is not JSON, and with the field if it is not a machine.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise TopologyError(f"{path}:{line}: is not what `numa-align topo --json` prints: {error}") from None
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise TopologyError(f"{path}:1: is not what `numa-align topo --json` of version {VERSION} prints")
    if "cores" not in data:
        raise TopologyError(f"{path}:1: has no cores: it is from an older numa-align; gather it anew")
    try:
        return _topology(read_fields(MachineFields, data))
    except ValueError as error:
        raise TopologyError(f"{path}: does not describe a machine: {error}") from None


def _topology(data: MachineFields) -> Topology:
    return Topology(
        parse_cpulist(data["cpus"]["online"]),
        tuple(
            Node(node["id"], parse_cpulist(node["cpus"]), node["memory_bytes"], node["kind"])
            for node in data["nodes"]
        ),
        tuple(map(tuple, data["distances"])),
        tuple(Core(parse_cpulist(cpus), node, package, llc) for cpus, node, package, llc in data["cores"]),
        tuple(_gpu(gpu) for gpu in data["gpus"]),
    )


def _gpu(data: GpuFields) -> Gpu:
    vendor = VENDORS.get(data["vendor"])
    return Gpu(
        vendor=data["vendor"],
        bdf=data["bdf"],
        minor=data["minor"],
        uuid=data["uuid"],
        model=data["model"],
        index=data["index"],
        node=data["node"],
        source=data["source"],
        cpus=parse_cpulist(data["cpus"]),
        memory_nodes=tuple(data["memory_nodes"]),
        device=None if vendor is None or data["minor"] is None else f"{vendor.device}{data['minor']}",
    )
