"""Texts and JSON of a process and its GPUs that `check`, `job`, `audit` and `plan` have in common. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional, TypedDict

from ..names import PathWord
from ..process.held_nics import HeldNics
from ..topology.model import Gpu

#: Colours of the states on paper, distinct in grey too; the word is shown beside each.
STATE_COLOURS = {"aligned": "#1b7837", "partial": "#f6c141", "memory-only": "#7b9fd4", "unaligned": "#b2182b"}
#: The colour of each state on a terminal.
STATE_STYLES = {"aligned": "green", "partial": "yellow", "memory-only": "yellow", "unaligned": "red"}


def gpus_text(gpus: Sequence[Gpu]) -> str:
    """``0@0,4@1``: minor (else PCI address) at node; ``?`` for an unknown node."""
    return ",".join(
        f"{gpu.bdf if gpu.minor is None else gpu.minor}@{'?' if gpu.node is None else gpu.node}"
        for gpu in gpus
    )


class GpuFields(TypedDict):
    """A GPU in JSON."""

    bdf: str
    minor: Optional[int]
    node: Optional[int]


class HeldNicFields(TypedDict):
    """A card that a process has open, in JSON; ``near``: no card is nearer to its GPUs."""

    name: Optional[str]
    bdf: str
    node: Optional[int]
    path: Optional[PathWord]
    near: Optional[bool]


class MemoryFields(TypedDict):
    """Memory in JSON, bytes by node; all None if the process is hidden."""

    bytes_by_node: Optional[dict[str, int]]
    private_by_node: Optional[dict[str, int]]
    shared_by_node: Optional[dict[str, int]]


def gpus_fields(gpus: Sequence[Gpu]) -> list[GpuFields]:
    """GPUs for JSON."""
    return [{"bdf": gpu.bdf, "minor": gpu.minor, "node": gpu.node} for gpu in gpus]


def nics_text(nics: HeldNics) -> str:
    """``mlx5_3:PIX,mlx5_0:SYS``: the cards that a process has open, and how far from its GPUs they are."""
    return ",".join(
        f"{held.nic.name}:{held.path}" if held.path else str(held.nic.name) for held in nics.cards
    )


def nics_fields(nics: HeldNics) -> list[HeldNicFields]:
    """Open cards for JSON."""
    return [
        {
            "name": held.nic.name,
            "bdf": held.nic.bdf,
            "node": held.nic.node,
            "path": held.path,
            "near": held.near,
        }
        for held in nics.cards
    ]


def memory_text(private: Mapping[int, int], shared: Mapping[int, int]) -> str:
    """``9.8MiB@0 0.1MiB@1``, then after a plus what is shared or pinned: ``9.8MiB@0 +512.0MiB@0``."""
    own = [f"{size / 2**20:.1f}MiB@{node}" for node, size in private.items()]
    return " ".join([*own, *(f"+{size / 2**20:.1f}MiB@{node}" for node, size in shared.items())])


def memory_fields(private: Mapping[int, int], shared: Mapping[int, int]) -> MemoryFields:
    """Memory for JSON, with the sum of both."""
    nodes = sorted({*private, *shared})
    return {
        "bytes_by_node": {str(node): private.get(node, 0) + shared.get(node, 0) for node in nodes},
        "private_by_node": {str(node): size for node, size in private.items()},
        "shared_by_node": {str(node): size for node, size in shared.items()},
    }
