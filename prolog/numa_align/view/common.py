"""Texts and JSON of a process and its GPUs that `check`, `job`, `audit` and `plan` have in common. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Optional, TypedDict

if TYPE_CHECKING:
    from ..names import PathWord, PolicyMode, State
    from ..process.held_nics import HeldNics
    from ..process.state import ProcessState
    from ..process.verdict import Verdict
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


class UsedGpuFields(TypedDict):
    """A GPU that a process uses, in JSON."""

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


class ProcessFields(MemoryFields):
    """What `check` and `job` tell of a process in JSON; None if it is hidden."""

    pid: int
    task: Optional[int]
    gpus: list[UsedGpuFields]
    nics: list[HeldNicFields]
    policy: Optional[PolicyMode]
    policy_nodes: Optional[list[int]]
    state: Optional[State]
    reason: Optional[str]
    undone: Optional[str]


def gpus_fields(gpus: Sequence[Gpu]) -> list[UsedGpuFields]:
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


def process_fields(
    *,
    pid: int,
    rank: Optional[int],
    gpus: Sequence[Gpu],
    nics: HeldNics,
    state: Optional[ProcessState],
    verdict: Optional[Verdict],
    undone: Optional[str],
) -> ProcessFields:
    """A process for JSON; ``state`` and ``verdict`` are None if it is hidden."""
    hidden: MemoryFields = {"bytes_by_node": None, "private_by_node": None, "shared_by_node": None}
    return {
        "pid": pid,
        "task": rank,
        "gpus": gpus_fields(gpus),
        "nics": nics_fields(nics),
        "policy": state.policy.mode if state else None,
        "policy_nodes": list(state.policy.nodes) if state else None,
        **(memory_fields(state.private_by_node, state.shared_by_node) if state else hidden),
        "state": verdict.state if verdict else None,
        "reason": verdict.reason if verdict else None,
        "undone": undone,
    }
