"""Machines of the kinds that sites have, made here, with answers in the shape of the recorded ones.

They replace recordings if there are none, so that a fresh checkout also tests what reads whole machines.
Shapes are those that vendors publish; addresses, UUIDs and sizes are made up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from numa_align.cpulist import format_cpulist

from .for_hwloc import add_masks
from .machine import GIB, Device, ExtraNode, Machine, on_nodes

_VENDORS = {0x10DE: "nvidia", 0x1002: "amd", 0x8086: "intel"}


def _amd(*nodes: int) -> tuple[Device, ...]:
    return on_nodes(*nodes, vendor=0x1002, device=0x740C, driver="amdgpu", model=None)


#: The order of GPUs always differs from that of the nodes; see each name.
OWN = {
    "workstation-1-gpu": Machine(cores=8, smt=2, gpus=on_nodes(0)),
    "two-sockets-8-gpus": Machine(packages=2, cores=24, smt=2, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1)),
    "two-sockets-all-on-1": Machine(packages=2, cores=16, smt=2, gpus=on_nodes(1, 1, 1, 1)),
    "nps4-3-1-7-5": Machine(
        packages=2, nodes=4, caches=2, cores=4, smt=2, gpus=on_nodes(3, 3, 1, 1, 7, 7, 5, 5)
    ),
    "snc2-6-gpus": Machine(packages=2, nodes=2, cores=10, smt=2, gpus=on_nodes(1, 1, 0, 3, 3, 2)),
    "one-socket-nps4-4-gcds": Machine(
        nodes=4, caches=2, cores=8, smt=2, gpus=_amd(3, 3, 1, 1, 0, 0, 2, 2)
    ),
    "four-sockets": Machine(packages=4, cores=8, gpus=on_nodes(2, 0, 3, 1)),
    "power-with-gaps": Machine(
        packages=2, cores=8, smt=4, siblings_apart=False, node_ids=(0, 8), gpus=on_nodes(0, 0, 8, 8)
    ),
    "memory-only-nodes": Machine(
        packages=2, cores=12, smt=2, gpus=on_nodes(0, 1), extra_nodes=(ExtraNode(4, 64 * GIB),)
    ),
    "some-cpus-offline": Machine(packages=2, cores=8, smt=2, gpus=on_nodes(1, 0), offline=(17, 18, 31)),
    "virtual-without-locality": Machine(
        packages=2, cores=4, gpus=on_nodes(None, None, source="none"), has_caches=False
    ),
    "virtual-one-node": Machine(cores=4, gpus=on_nodes(0, source="only-node"), has_caches=False),
    "bridges-tell": Machine(packages=2, cores=6, smt=2, gpus=on_nodes(1, 1, 0, source="bridge")),
    "old-kernel": Machine(packages=2, cores=6, smt=2, gpus=on_nodes(1, 0), old_kernel=True),
    "four-superchips": Machine(
        packages=4, cores=18, gpus=tuple(Device(node=n, memory_node=4 + 8 * n) for n in range(4)),
        extra_nodes=tuple(ExtraNode(n, 0 if n % 8 != 4 else 96 * GIB, "gpu-memory") for n in range(4, 36)),
    ),
    "sixteen-nodes-without-gpus": Machine(packages=2, nodes=8, cores=4, smt=2),
}  # fmt: skip


def write_all(folder: Path) -> None:
    """Each machine's tree in ``folder``, with its answer beside it."""
    for name, machine in OWN.items():
        add_masks(machine.write(folder / name))  # hwloc reads them too
        answer = folder / f"{name}.expected.json"
        answer.write_text(json.dumps(answer_of(machine), indent=1), encoding="utf-8")


def answer_of(machine: Machine) -> dict[str, Any]:
    """What a correct reader finds, from the description and not from the tree."""
    topology = machine.topology()
    devices = {machine.address(position): device for position, device in enumerate(machine.gpus)}
    return {
        "cpus": {
            "online": format_cpulist(topology.online),
            "packages": machine.packages,
            "smt": machine.smt,
        },
        "nodes": {
            str(node.id): {"cpulist": format_cpulist(node.cpus), "mem_kb": node.memory_bytes // 1024}
            for node in topology.nodes
        },
        "gpus": [
            {
                "bdf": gpu.bdf,
                "kind": _VENDORS[devices[gpu.bdf].vendor],
                "minor": gpu.minor,
                "numa_node": -1 if gpu.node is None else gpu.node,
                "mem_node": devices[gpu.bdf].memory_node,
            }
            for gpu in topology.gpus
        ],
    }
