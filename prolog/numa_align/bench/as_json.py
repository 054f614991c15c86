"""The JSON of ``numa-align bench --json``, and the part that is read back for an estimate. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Any, Optional, TypedDict

from ..errors import RequestError

if TYPE_CHECKING:
    from .gpu_copies import Copy
    from .host_memory import Cell
    from .nic_writes import Write


class BenchFields(TypedDict):
    """What ``bench --json`` prints, with `Cell`, `Copy` and `Write` as they are."""

    version: int
    local_to_remote: Optional[float]
    toolkit: Optional[str]
    memory: list[dict[str, Any]]
    gpus: list[dict[str, Any]]
    nics: list[dict[str, Any]]


def to_json(
    cells: Sequence[Cell],
    copies: Sequence[Copy],
    writes: Sequence[Write],
    ratio: Optional[float],
    toolkit: Optional[str],
) -> BenchFields:
    """The schema of docs/users.md."""
    return {
        "version": 1,
        "local_to_remote": ratio,
        "toolkit": toolkit,
        "memory": [dataclasses.asdict(cell) for cell in cells],
        "gpus": [dataclasses.asdict(copy) for copy in copies],
        "nics": [dataclasses.asdict(write) for write in writes],
    }


@dataclasses.dataclass(frozen=True)
class LocalAndRemote:
    """Mean rates in GB/s from the best and from the worst node, and what was measured."""

    what: str
    local: float
    remote: float

    @property
    def loss(self) -> float:
        """The share of its time that a program loses far away if it does nothing else."""
        return max(0.0, 1 - self.remote / self.local)


def read_local_and_remote(text: str) -> LocalAndRemote:
    """From the JSON of a bench: memory or copies from pinned memory to GPUs, whichever loses more.

    Raises RequestError for other text, and for measurements of a single NUMA node, where nothing is far.
    """
    try:
        data = json.loads(text)
        found = [*_memory(data["memory"]), *_copies(data["gpus"])]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RequestError("this is not what numa-align bench --json prints") from None
    if not found:
        raise RequestError("this was measured on one NUMA node, where nothing is far")
    return max(found, key=lambda one: one.loss)


def _memory(cells: Sequence[Mapping[str, Any]]) -> list[LocalAndRemote]:
    found = _means((cell["cpu_node"], cell["memory_node"], float(cell["bandwidth_gb_s"])) for cell in cells)
    return [LocalAndRemote("memory bandwidth", *found)] if found else []


def local_to_remote(cells: Sequence[Cell]) -> Optional[float]:
    """Mean bandwidth on the own node divided by that on others; None with one node."""
    found = _means((cell.cpu_node, cell.memory_node, cell.bandwidth_gb_s) for cell in cells)
    return round(found[0] / found[1], 2) if found else None


def _means(rates: Iterable[tuple[int, int, float]]) -> Optional[tuple[float, float]]:
    """Mean rates of (CPU node, memory node, rate) within and between nodes; None if either is missing."""
    measured = list(rates)
    local = [rate for cpu, memory, rate in measured if cpu == memory]
    remote = [rate for cpu, memory, rate in measured if cpu != memory]
    return (mean(local), mean(remote)) if local and remote and mean(local) > 0 else None


def _copies(copies: Sequence[Mapping[str, Any]]) -> list[LocalAndRemote]:
    rates: dict[str, list[float]] = defaultdict(list)
    for copy in copies:
        rates[copy["gpu"]].append(float(copy["pinned_to_gpu"]))
    several = [own for own in rates.values() if len(own) > 1 and max(own) > 0]
    if not several:
        return []
    return [LocalAndRemote("copies to the GPUs", mean(map(max, several)), mean(map(min, several)))]
