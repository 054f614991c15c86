"""The one door to NVML, the library of NVIDIA's driver, through pynvml where it is installed.

NVML is a library of the driver's version: whatever goes wrong in it, callers can go on with less, so no
exception passes.
"""

from __future__ import annotations

import os
import sys

from ...light_typing import TYPE_CHECKING
from .pci import FoundGpu, bdf_key, normalise_bdf
from .vendors import VENDORS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Optional, TypeVar

    _Answer = TypeVar("_Answer")

#: More links than any GPU has.
_MAX_LINKS = 36


def import_nvml() -> ModuleType:
    """The module pynvml. Raises ImportError if it is not installed, and in the prolog.

    The prolog runs as root without the site's packages (``python3 -S``): a search for them would run what
    anybody has put into their .pth files.
    """
    if sys.flags.no_site:
        raise ImportError("NVML is not asked by a Python that runs without the site's packages")
    from importlib import import_module  # noqa: PLC0415 - not for the prolog

    return import_module("pynvml")


def _ask(question: Callable[[ModuleType], _Answer]) -> Optional[_Answer]:
    """The answer to a question; None without the module, the library, or a driver of its version."""
    try:
        nvml = import_nvml()
        nvml.nvmlInit()
        try:
            return question(nvml)
        finally:
            nvml.nvmlShutdown()
    except Exception:
        return None


def gpus() -> tuple[FoundGpu, ...]:
    """All GPUs, ascending by address; empty if NVML does not tell."""

    def question(nvml: ModuleType) -> list[FoundGpu]:
        return [_gpu(nvml, position) for position in range(nvml.nvmlDeviceGetCount())]

    return tuple(sorted(_ask(question) or (), key=lambda gpu: bdf_key(gpu.bdf)))


def _gpu(nvml: ModuleType, position: int) -> FoundGpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(position)
    bus_id = _text(nvml.nvmlDeviceGetPciInfo(handle).busId)
    bdf = normalise_bdf(bus_id)
    if bdf is None:
        raise ValueError(f"{bus_id!r} is not a PCI address")
    minor = int(nvml.nvmlDeviceGetMinorNumber(handle))
    uuid, model = _text(nvml.nvmlDeviceGetUUID(handle)), _text(nvml.nvmlDeviceGetName(handle))
    return FoundGpu("nvidia", bdf, minor, uuid, model, VENDORS["nvidia"].device + str(minor))


def mig_parent(uuid: str) -> Optional[str]:
    """Address of the GPU that has a MIG instance; None if unknown."""

    def question(nvml: ModuleType) -> Optional[str]:
        instance = nvml.nvmlDeviceGetHandleByUUID(os.fsencode(uuid))
        parent = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance)
        return normalise_bdf(_text(nvml.nvmlDeviceGetPciInfo(parent).busId))

    return _ask(question)


def running(addresses: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """(process, address) of every context on these GPUs, as far as NVML tells."""

    def question(nvml: ModuleType) -> tuple[tuple[int, str], ...]:
        return tuple((pid, bdf) for bdf in addresses for pid in _pids(nvml, bdf))

    return _ask(question) or ()


def _pids(nvml: ModuleType, bdf: str) -> list[int]:
    try:
        processes = nvml.nvmlDeviceGetComputeRunningProcesses(_handle(nvml, bdf))
    except nvml.NVMLError:
        return []
    return [process.pid for process in processes]


def links(addresses: Sequence[str]) -> Optional[tuple[tuple[int, ...], ...]]:
    """Number of active NVLinks from each GPU directly to each other one, in the order of ``addresses``.

    GPUs behind NVSwitches have links to these and none to each other: all zeros, as in Slurm's own NVML
    plugin. None if NVML is missing, fails, or knows other GPUs.
    """
    return _ask(lambda nvml: tuple(_links(nvml, bdf, addresses) for bdf in addresses))


def _links(nvml: ModuleType, bdf: str, addresses: Sequence[str]) -> tuple[int, ...]:
    handle = _handle(nvml, bdf)
    counts = dict.fromkeys(addresses, 0)
    for link in range(_MAX_LINKS):
        try:
            if not nvml.nvmlDeviceGetNvLinkState(handle, link):
                continue
            remote = normalise_bdf(_text(nvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, link).busId))
        except nvml.NVMLError:
            break
        if remote in counts:
            counts[remote] += 1
    return tuple(counts.values())


def persistence() -> Optional[bool]:
    """Whether all GPUs are in persistence mode; None if unknown."""

    def question(nvml: ModuleType) -> bool:
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        return all(nvml.nvmlDeviceGetPersistenceMode(handle) for handle in handles)

    return _ask(question)


def _handle(nvml: ModuleType, bdf: str) -> object:
    handle: object = nvml.nvmlDeviceGetHandleByPciBusId(bdf.encode())
    return handle


def _text(value: object) -> str:
    # Bytes in older versions of the module.
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
