"""Memory bandwidth and latency from each node's CPUs to each node's memory. Needs numpy.

What is measured is a copy by one thread per CPU of the node, and a chain of dependent loads by one thread, in
memory that is bound to one node (set_mempolicy(2), bind); the copy counts bytes read and written. The chain
is compiled (spank/bench/chase.c) and runs several times, in huge pages if the kernel has some.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Optional

import numpy as np

from ..errors import RequestError
from ..process.affinity import bind_cpus, set_policy
from ..topology.model import Node, Topology

_MAX_THREADS = 32


@dataclass(frozen=True)
class Effort:
    """How much is measured: bytes per buffer, repetitions, loads in a chain and how often it is run."""

    buffer: int = 256 << 20
    repeat: int = 5
    loads: int = 300_000
    runs: int = 40
    #: The size of the chain in bytes: more than the last-level caches of most machines.
    chain: int = 512 << 20
    #: Of 64 KiB, through a network card.
    writes: int = 5000

    @classmethod
    def quick(cls) -> Effort:
        """For a first look, and for tests."""
        return cls(8 << 20, 2, 100_000, chain=64 << 20, writes=500)


@dataclass(frozen=True)
class Cell:
    """CPUs of one node on memory of one node. ``latency_ns`` is None if the noise was too large."""

    cpu_node: int
    memory_node: int
    bandwidth_gb_s: float
    latency_ns: Optional[float]


@contextmanager
def on_node(cpus: tuple[int, ...], memory_node: int) -> Iterator[None]:
    """Bind the calling thread to these CPUs and its new memory to this node, then restore both."""
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
    """Measure one pair of nodes. Raises BindError if the kernel refuses to bind memory."""
    cpus = tuple(sorted(set(cpu.cpus) & set(allowed)))
    # At most a quarter of the node: binding is strict, and what else runs there needs memory too.
    size = min(effort.buffer, memory.memory_bytes // 16)
    with on_node(cpus, memory.id):
        latency = settled(chase(min(effort.chain, memory.memory_bytes // 16), effort.loads, effort.runs))
        return Cell(cpu.id, memory.id, _bandwidth(cpus, size, effort.repeat), latency)


def _bandwidth(cpus: tuple[int, ...], size: int, repeat: int) -> float:
    """GB/s read and written, the best of some rounds: others on the machine only make it slower."""
    threads = min(len(cpus), _MAX_THREADS)
    part = max(size // threads // 8, 1)
    source = [np.ones(part) for _ in range(threads)]
    target = [np.zeros(part) for _ in range(threads)]
    best = float("inf")
    # Threads inherit CPUs and policy from the thread that starts them; numpy's copy releases the GIL.
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeat + 1):
            begin = time.perf_counter()
            list(pool.map(np.copyto, target, source))
            best = min(best, time.perf_counter() - begin)
    return 2 * threads * part * 8 / best / 1e9


def chase(size: int, loads: int, runs: int) -> list[float]:
    """Nanoseconds per load in a chain through ``size`` bytes of new memory, once for each run."""
    from .._claim import ffi, lib  # noqa: PLC0415 (the compiled part, which `errors` speaks of elsewhere)

    found = ffi.new("double[]", runs)
    if not lib.na_chase(size, loads, runs, found):
        raise RequestError(f"there is no memory of {size >> 20} MiB to measure latencies in")
    return list(found)


def settled(runs: Sequence[float]) -> Optional[float]:
    """The least of some runs, as others on the machine only make a load slower; None for noise.

    It is noise if the three least are not within a tenth: the least may then not be the machine's own.
    """
    least = sorted(runs)[:3]
    return round(least[0], 1) if len(least) == 3 and least[-1] <= 1.1 * least[0] else None
