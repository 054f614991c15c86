"""What Slurm's variables tell a task about its place in the step. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Place:
    """A task's place in its step on this node: local id, and how many tasks there are."""

    id: int = 0
    tasks: int = 1


def to_number(text: Optional[str]) -> Optional[int]:
    """A small decimal number from the environment, None for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else None


def tasks_on_node(counts: str, node: int) -> Optional[int]:
    """Tasks of node number ``node`` in SLURM_STEP_TASKS_PER_NODE, ``2(x3),1``; None if unknown."""
    for part in counts.split(","):
        count, _, times = part.partition("(x")
        tasks = to_number(count)
        repeat = to_number(times.rstrip(")")) if times else 1
        if tasks is None or repeat is None:
            return None
        if node < repeat:
            return tasks
        node -= repeat
    return None


def place_of(environment: Mapping[str, str]) -> Place:
    """The task's place from Slurm's variables; a single task if there are none."""
    local = to_number(environment.get("SLURM_LOCALID"))
    node = to_number(environment.get("SLURM_NODEID"))
    counts = environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    tasks = tasks_on_node(counts, node or 0) if local is not None else None
    return Place(local or 0, tasks or 1)


def rank_of(environment: Mapping[str, str]) -> Optional[int]:
    """SLURM_PROCID, None outside a step."""
    return to_number(environment.get("SLURM_PROCID"))
