"""The machines of a test session for which `numa-align conf` can write files."""

from __future__ import annotations

from pathlib import Path

from numa_align.errors import ConfError
from numa_align_conf.facts import Kind
from numa_align_conf.generate import kinds_of_machine

from .recorded import answered, unanswered


def machines_with_gpus(folder: Path, name: str) -> list[tuple[Path, Kind]]:
    """The root and the kind, as a node of this ``name``, of those that can be read at all."""
    found = []
    for root in (*(root for root, _ in answered(folder)), *unanswered(folder)):
        try:
            (kind,) = kinds_of_machine(str(root), [name])
        except ConfError:
            continue
        if kind.topology.gpus:
            found.append((root, kind))
    return found
