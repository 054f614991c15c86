"""Memory bandwidth and latency from each node's CPUs to each node's memory. Needs numpy.

What is measured is a copy by one thread a CPU of the node, and a chain of dependent loads, in memory that is
bound to one node (set_mempolicy(2), bind); the copy counts bytes read and written. A latency is of a chain
through the interpreter, less that of the same chain in a few cache lines: the difference is memory's.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from ..errors import RequestError
from ..process.affinity import bind_cpus, set_policy
from ..topology.model import Node, Topology

_MAX_THREADS = 32


@dataclass(frozen=True)
class Effort:
    """How long and how large: bytes a buffer, repetitions, loads of a chain."""

    buffer: int = 256 << 20
    repeat: int = 5
    loads: int = 200_000

    @classmethod
    def quick(cls) -> Effort:
        """For a first look, and for tests."""
        return cls(8 << 20, 2, 20_000)


@dataclass(frozen=True)
class Cell:
    """CPUs of one node on memory of one node. ``latency_ns`` is None where noise was larger."""

    cpu_node: int
    memory_node: int
    bandwidth_gb_s: float
    latency_ns: Optional[float]


@contextmanager
def on_node(cpus: tuple[int, ...], memory_node: int) -> Iterator[None]:
    """The calling thread on these CPUs with its new memory on this node; then as before."""
    before = os.sched_getaffinity(0)
    bind_cpus(0, cpus)
    try:
        set_policy("bind", (memory_node,))
        yield
    finally:
        set_policy("default")
        bind_cpus(0, before)


def pairs(topology: Topology, allowed: tuple[int, ...]) -> list[tuple[Node, Node]]:
    """(CPU node, memory node) of all pairs that this process may measure; local ones first in each row."""
    mine = set(allowed)
    cpu_nodes = [node for node in topology.nodes if mine.intersection(node.cpus)]
    memory_nodes = [node for node in topology.nodes if node.memory_bytes and node.kind != "gpu-memory"]
    if not cpu_nodes or not memory_nodes:
        raise RequestError("there is no NUMA node with CPUs and memory that this process may use")
    return [(cpu, memory) for cpu in cpu_nodes for memory in memory_nodes]


def measure_memory(cpu: Node, memory: Node, allowed: tuple[int, ...], effort: Effort) -> Cell:
    """One pair of nodes. Raises BindError where the kernel forbids binding memory."""
    cpus = tuple(sorted(set(cpu.cpus) & set(allowed)))
    # Never more than a quarter of the node: binding is hard, and what runs there needs memory too.
    size = min(effort.buffer, memory.memory_bytes // 16)
    with on_node(cpus, memory.id):
        return Cell(cpu.id, memory.id, _bandwidth(cpus, size, effort.repeat), _latency(size, effort.loads))


def _bandwidth(cpus: tuple[int, ...], size: int, repeat: int) -> float:
    """GB/s read and written, the best of some rounds: others on the machine only make it slower."""
    threads = min(len(cpus), _MAX_THREADS)
    part = max(size // threads // 8, 1)
    source = [np.ones(part) for _ in range(threads)]
    target = [np.zeros(part) for _ in range(threads)]
    best = float("inf")
    # Threads inherit the CPUs and the policy of the one that starts them; numpy's copy lets go of the lock.
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeat + 1):
            begin = time.perf_counter()
            list(pool.map(np.copyto, target, source))
            best = min(best, time.perf_counter() - begin)
    return 2 * threads * part * 8 / best / 1e9


def _chain(count: int, stride: int, start: int) -> np.ndarray[Any, Any]:
    """A cycle through ``count`` places ``stride`` apart from ``start`` on, in random order (fixed seed)."""
    order = np.random.default_rng(1).permutation(count) * stride + start
    links = np.zeros(count * stride + start, dtype=np.int64)
    links[order] = np.roll(order, -1)
    return links


def _latency(size: int, loads: int) -> Optional[float]:
    line, start = 8, 512  # int64 in 64 bytes: one place a line; Python keeps small numbers ready-made
    near = _follow(_chain(16, line, start), start, loads)
    far = _follow(_chain(max(size // 64, 1024), line, start), start, loads)
    return round(far - near, 1) if far > near else None


def _follow(links: np.ndarray[Any, Any], start: int, loads: int) -> float:
    """Nanoseconds a load, the best of three."""
    view = links.data
    best = float("inf")
    for _ in range(3):
        place = start
        begin = time.perf_counter()
        for _ in range(loads):
            place = view[place]
        best = min(best, time.perf_counter() - begin)
    return best / loads * 1e9


def local_to_remote(cells: list[Cell]) -> Optional[float]:
    """Mean bandwidth on the own node over that on others; None with one node."""
    local = [cell.bandwidth_gb_s for cell in cells if cell.cpu_node == cell.memory_node]
    remote = [cell.bandwidth_gb_s for cell in cells if cell.cpu_node != cell.memory_node]
    return round(statistics.mean(local) / statistics.mean(remote), 2) if local and remote else None
