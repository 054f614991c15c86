"""The JSON of ``numa-align bench --json``, and the part that is read back for an estimate. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Optional, TypedDict

from ..errors import RequestError
from ..json_fields import FieldError, read_fields

if TYPE_CHECKING:
    from .gpu_copies import Copy
    from .host_memory import Cell
    from .nic_writes import Write


class CellFields(TypedDict):
    """A `Cell` in JSON; docs/users.md describes the fields."""

    cpu_node: int
    memory_node: int
    bandwidth_gb_s: float
    latency_ns: Optional[float]


class CopyFields(TypedDict):
    """A `Copy` in JSON."""

    node: int
    gpu: str
    pinned_to_gpu: float
    pinned_to_host: float
    pageable_to_gpu: float
    pageable_to_host: float
    launch_median_us: float
    launch_p99_us: float


class WriteFields(TypedDict):
    """A `Write` in JSON."""

    node: int
    nic: str
    gb_s: float


class MeasuredFields(TypedDict):
    """What an estimate reads."""

    memory: list[CellFields]
    gpus: list[CopyFields]


class BenchFields(MeasuredFields):
    """What ``bench --json`` prints."""

    version: int
    local_to_remote: Optional[float]
    toolkit: Optional[str]
    nics: list[WriteFields]


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
        "memory": [_cell_fields(cell) for cell in cells],
        "gpus": [_copy_fields(copy) for copy in copies],
        "nics": [{"node": write.node, "nic": write.nic, "gb_s": write.gb_s} for write in writes],
    }


def _cell_fields(cell: Cell) -> CellFields:
    return {
        "cpu_node": cell.cpu_node,
        "memory_node": cell.memory_node,
        "bandwidth_gb_s": cell.bandwidth_gb_s,
        "latency_ns": cell.latency_ns,
    }


def _copy_fields(copy: Copy) -> CopyFields:
    return {
        "node": copy.node,
        "gpu": copy.gpu,
        "pinned_to_gpu": copy.pinned_to_gpu,
        "pinned_to_host": copy.pinned_to_host,
        "pageable_to_gpu": copy.pageable_to_gpu,
        "pageable_to_host": copy.pageable_to_host,
        "launch_median_us": copy.launch_median_us,
        "launch_p99_us": copy.launch_p99_us,
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
        data = read_fields(MeasuredFields, json.loads(text))
    except FieldError as error:
        raise RequestError(f"this is not what numa-align bench --json prints: {error}") from None
    except ValueError:
        raise RequestError("this is not what numa-align bench --json prints") from None
    found = [*_memory(data["memory"]), *_copies(data["gpus"])]
    if not found:
        raise RequestError("this was measured on one NUMA node, where nothing is far")
    return max(found, key=lambda one: one.loss)


def _memory(cells: Sequence[CellFields]) -> list[LocalAndRemote]:
    found = _means((cell["cpu_node"], cell["memory_node"], cell["bandwidth_gb_s"]) for cell in cells)
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


def _copies(copies: Sequence[CopyFields]) -> list[LocalAndRemote]:
    rates: dict[str, list[float]] = defaultdict(list)
    for copy in copies:
        rates[copy["gpu"]].append(copy["pinned_to_gpu"])
    several = [own for own in rates.values() if len(own) > 1 and max(own) > 0]
    if not several:
        return []
    return [LocalAndRemote("copies to the GPUs", mean(map(max, several)), mean(map(min, several)))]
