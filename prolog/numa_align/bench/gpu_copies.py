"""Copies between host memory of one node and a GPU, and small launches, through PyTorch or CuPy. Needs numpy.

Host memory is numpy's, filled by the calling thread and pinned in place: the toolkits' own pools of pinned
memory would return memory of an earlier node, and PyTorch's own threads keep the CPUs and the policy of
the node for which they were started.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Optional, Protocol

import numpy as np

from ..errors import RequestError
from ..topology.model import Gpu, Node, Topology
from .host_memory import Effort, on_node


@dataclass(frozen=True)
class Copy:
    """Copies between a GPU and host memory of one node, run on that node's CPUs. GB/s, and microseconds."""

    node: int
    gpu: str
    pinned_to_gpu: float
    pinned_to_host: float
    pageable_to_gpu: float
    pageable_to_host: float
    launch_median_us: float
    launch_p99_us: float


class Toolkit(Protocol):
    """What is used of PyTorch or CuPy; ``there`` is memory of the current GPU, ``host`` is numpy's bytes."""

    def count(self) -> int:
        """How many GPUs it sees."""

    def address(self, number: int) -> tuple[int, int, int]:
        """PCI domain, bus and device of its GPU ``number``."""

    def current(self, number: int) -> AbstractContextManager[object]:
        """Make a GPU the current one."""

    def empty(self, size: int) -> Any:
        """Allocate bytes on the current GPU."""

    def pin(self, host: Any) -> int:
        """Pin memory in place; returns CUDA's status."""

    def unpin(self, host: Any) -> None:
        """Undo `pin`."""

    def upload(self, there: Any, host: Any) -> None:
        """Start a copy to the GPU."""

    def download(self, host: Any, there: Any) -> None:
        """Start a copy to the host."""

    def launch(self, small: Any) -> None:
        """Start a kernel that has next to nothing to do."""

    def wait(self) -> None:
        """Wait until everything that was started is done."""


class _Torch:
    """PyTorch. Raises ImportError where it is not installed."""

    def __init__(self) -> None:
        self._torch: Any = import_module("torch")

    def count(self) -> int:
        return int(self._torch.cuda.device_count()) if self._torch.cuda.is_available() else 0

    def address(self, number: int) -> tuple[int, int, int]:
        of = self._torch.cuda.get_device_properties(number)
        return of.pci_domain_id, of.pci_bus_id, of.pci_device_id

    def current(self, number: int) -> AbstractContextManager[object]:
        device: AbstractContextManager[object] = self._torch.cuda.device(number)
        return device

    def empty(self, size: int) -> Any:
        return self._torch.zeros(size, dtype=self._torch.uint8, device="cuda")

    def pin(self, host: Any) -> int:
        return int(self._torch.cuda.cudart().cudaHostRegister(host.ctypes.data, host.nbytes, 0))

    def unpin(self, host: Any) -> None:
        self._torch.cuda.cudart().cudaHostUnregister(host.ctypes.data)

    def upload(self, there: Any, host: Any) -> None:
        there.copy_(self._torch.from_numpy(host), non_blocking=True)

    def download(self, host: Any, there: Any) -> None:
        self._torch.from_numpy(host).copy_(there, non_blocking=True)

    def launch(self, small: Any) -> None:
        small.add_(1)

    def wait(self) -> None:
        self._torch.cuda.synchronize()


class _CuPy:
    """CuPy. Raises ImportError where it is not installed."""

    def __init__(self) -> None:
        self._cupy: Any = import_module("cupy")
        self._runtime: Any = self._cupy.cuda.runtime

    def count(self) -> int:
        try:
            return int(self._runtime.getDeviceCount())
        except self._runtime.CUDARuntimeError:  # no driver, or no GPU
            return 0

    def address(self, number: int) -> tuple[int, int, int]:
        of = self._runtime.getDeviceProperties(number)
        return of["pciDomainID"], of["pciBusID"], of["pciDeviceID"]

    def current(self, number: int) -> AbstractContextManager[object]:
        device: AbstractContextManager[object] = self._cupy.cuda.Device(number)
        return device

    def empty(self, size: int) -> Any:
        return self._cupy.zeros(size, dtype=np.uint8)

    def pin(self, host: Any) -> int:
        try:
            self._runtime.hostRegister(host.ctypes.data, host.nbytes, 0)
        except self._runtime.CUDARuntimeError as error:
            return int(error.status)
        return 0

    def unpin(self, host: Any) -> None:
        self._runtime.hostUnregister(host.ctypes.data)

    def upload(self, there: Any, host: Any) -> None:
        self._copy(there.data.ptr, host.ctypes.data, host.nbytes, self._runtime.memcpyHostToDevice)

    def download(self, host: Any, there: Any) -> None:
        self._copy(host.ctypes.data, there.data.ptr, host.nbytes, self._runtime.memcpyDeviceToHost)

    def _copy(self, target: int, source: int, size: int, kind: int) -> None:
        self._runtime.memcpyAsync(target, source, size, kind, self._cupy.cuda.get_current_stream().ptr)

    def launch(self, small: Any) -> None:
        small += 1

    def wait(self) -> None:
        self._runtime.deviceSynchronize()


#: By the value of --toolkit, in the order in which they are tried.
TOOLKITS: dict[str, Callable[[], Toolkit]] = {"torch": _Torch, "cupy": _CuPy}


def toolkit_of(name: Optional[str] = None) -> Optional[tuple[str, Toolkit]]:
    """The installed toolkit of this name (None: the first) that sees a GPU, with its name."""
    for word in TOOLKITS if name is None else (name,):
        try:
            toolkit = TOOLKITS[word]()
        except ImportError:
            continue
        if toolkit.count():
            return word, toolkit
    return None


def numbered(toolkit: Toolkit, topology: Topology) -> list[tuple[int, Gpu]]:
    """Pairs of CUDA's number and our GPU, matched by PCI address."""
    found = []
    for number in range(toolkit.count()):
        domain, bus, device = toolkit.address(number)
        bdf = f"{domain:04x}:{bus:02x}:{device:02x}.0"
        found += [(number, gpu) for gpu in topology.gpus if gpu.bdf == bdf]
    return found


def measure_gpu(
    toolkit: Toolkit, which: tuple[int, Gpu], node: Node, cpus: tuple[int, ...], effort: Effort
) -> Copy:
    """Copies and launches between one node and one GPU. Raises BindError, RequestError."""
    (number, gpu), size = which, min(effort.buffer, node.memory_bytes // 16)
    with on_node(cpus, node.id), toolkit.current(number):
        there = toolkit.empty(size)
        host, pageable = (np.ones(size, dtype=np.uint8) for _ in range(2))
        with pinned(toolkit, host):
            rates = [*_rates(toolkit, there, host, effort), *_rates(toolkit, there, pageable, effort)]
        small = toolkit.empty(1)
        _launch(toolkit, small)  # the first one builds the kernel
        times = sorted(_launch(toolkit, small) for _ in range(effort.loads // 100))
    middle, slow = (round(times[len(times) * part // 100], 2) for part in (50, 99))
    return Copy(node.id, gpu.bdf, rates[0], rates[1], rates[2], rates[3], middle, slow)


@contextmanager
def pinned(toolkit: Toolkit, host: Any) -> Iterator[None]:
    """Pin numpy's memory for the duration of the context. Raises RequestError."""
    status = toolkit.pin(host)
    if status:
        raise RequestError(
            f"pinning {host.nbytes >> 20} MiB of memory failed: CUDA error {status}; "
            "is the limit of locked memory (ulimit -l) large enough?"
        )
    try:
        yield
    finally:
        toolkit.unpin(host)


def _rates(toolkit: Toolkit, there: Any, host: Any, effort: Effort) -> tuple[float, float]:
    """GB/s to the GPU and back."""
    return (
        _rate(toolkit, host.nbytes, effort.repeat, lambda: toolkit.upload(there, host)),
        _rate(toolkit, host.nbytes, effort.repeat, lambda: toolkit.download(host, there)),
    )


def _rate(toolkit: Toolkit, size: int, repeat: int, copy: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(repeat + 1):
        toolkit.wait()
        begin = time.perf_counter()
        copy()
        toolkit.wait()
        best = min(best, time.perf_counter() - begin)
    return round(size / best / 1e9, 2)


def _launch(toolkit: Toolkit, small: Any) -> float:
    """Microseconds until a kernel that does no work has ended."""
    begin = time.perf_counter()
    toolkit.launch(small)
    toolkit.wait()
    return (time.perf_counter() - begin) * 1e6
