"""Memory bandwidth and latency from each node's CPUs to each node's memory, and copies to GPUs. Needs numpy.

What is measured is a copy by one thread a CPU of the node, and a chain of dependent loads, in memory that is
bound to one node (set_mempolicy(2), bind); the copy counts bytes read and written. A latency is of a chain
through the interpreter, less that of the same chain in a few cache lines: the difference is memory's.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Optional

import numpy as np

from .bind import bind_cpus, set_policy
from .errors import RequestError
from .model import Gpu, Node, Topology

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


@dataclass(frozen=True)
class Copy:
    """Copies between host memory of one node, by its CPUs, and a GPU. GB/s, and microseconds."""

    node: int
    gpu: str
    pinned_to_gpu: float
    pinned_to_host: float
    pageable_to_gpu: float
    pageable_to_host: float
    launch_median_us: float
    launch_p99_us: float


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


# -- GPUs ------------------------------------------------------------------------------------


def torch_of() -> Optional[Any]:
    """PyTorch if it is installed and sees a GPU."""
    try:
        torch = import_module("torch")
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def torch_gpus(torch: Any, topology: Topology) -> list[tuple[int, Gpu]]:
    """CUDA's numbers and our GPUs, by PCI address."""
    found = []
    for number in range(torch.cuda.device_count()):
        is_of = torch.cuda.get_device_properties(number)
        bdf = f"{is_of.pci_domain_id:04x}:{is_of.pci_bus_id:02x}:{is_of.pci_device_id:02x}.0"
        found += [(number, gpu) for gpu in topology.gpus if gpu.bdf == bdf]
    return found


def measure_gpu(
    torch: Any, which: tuple[int, Gpu], node: Node, cpus: tuple[int, ...], effort: Effort
) -> Copy:
    """Copies between one node and one GPU, through PyTorch."""
    (number, gpu), size = which, min(effort.buffer, node.memory_bytes // 16)
    device = torch.device("cuda", number)
    with on_node(cpus, node.id), torch.cuda.device(device):
        there = torch.empty(size, dtype=torch.uint8, device=device)
        pageable, buffer = _filled(torch, size), _filled(torch, size)
        with _pinned(torch, buffer) as pinned:
            rates = _rates(torch, there, pinned, pageable, effort)
        small = torch.zeros(1, device=device)
        times = sorted(_launch(torch, small) for _ in range(effort.loads // 100))
    middle, slow = (round(times[len(times) * part // 100], 2) for part in (50, 99))
    return Copy(node.id, gpu.bdf, rates[0], rates[1], rates[2], rates[3], middle, slow)


def _filled(torch: Any, size: int) -> Any:
    """Bytes of host memory that are where the calling thread's policy says.

    numpy fills them, in this thread: PyTorch's own threads keep the CPUs and the policy of the node for which
    they were started.
    """
    return torch.from_numpy(np.ones(size, dtype=np.uint8))


@contextmanager
def _pinned(torch: Any, buffer: Any) -> Iterator[Any]:
    """The buffer, pinned where it is: pin_memory() would give pinned memory of an earlier node again."""
    runtime = torch.cuda.cudart()
    status = int(runtime.cudaHostRegister(buffer.data_ptr(), buffer.numel(), 0))
    if status:
        raise RequestError(f"pinning {buffer.numel() >> 20} MiB of memory failed: CUDA error {status}")
    try:
        yield buffer
    finally:
        runtime.cudaHostUnregister(buffer.data_ptr())


def _rates(torch: Any, there: Any, pinned: Any, pageable: Any, effort: Effort) -> list[float]:
    """Pinned to the GPU and back, pageable to the GPU and back."""
    return [
        _rate(torch, there.numel(), effort.repeat, action)
        for action in (
            lambda: there.copy_(pinned, non_blocking=True),
            lambda: pinned.copy_(there, non_blocking=True),
            lambda: there.copy_(pageable),
            lambda: pageable.copy_(there),
        )
    ]


def _rate(torch: Any, size: int, repeat: int, action: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(repeat + 1):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        action()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begin)
    return round(size / best / 1e9, 2)


def _launch(torch: Any, small: Any) -> float:
    """Microseconds until a kernel of no work is done."""
    begin = time.perf_counter()
    small.add_(1)
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) * 1e6
