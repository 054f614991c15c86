"""What `check` and `job` say of a process and its GPUs, in the same words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..topology.model import Gpu


def gpus_text(gpus: Sequence[Gpu]) -> str:
    """``0@0,4@1``: minor (else PCI address) at node; ``?`` for a node that is not known."""
    return ",".join(
        f"{gpu.bdf if gpu.minor is None else gpu.minor}@{'?' if gpu.node is None else gpu.node}"
        for gpu in gpus
    )


def gpus_fields(gpus: Sequence[Gpu]) -> list[dict[str, Any]]:
    """The same for JSON: ``bdf``, ``minor``, ``node``."""
    return [{"bdf": gpu.bdf, "minor": gpu.minor, "node": gpu.node} for gpu in gpus]


def memory_text(bytes_by_node: Mapping[int, int]) -> str:
    """``9.8MiB@0 0.1MiB@1``."""
    return " ".join(f"{size / 2**20:.1f}MiB@{node}" for node, size in bytes_by_node.items())
