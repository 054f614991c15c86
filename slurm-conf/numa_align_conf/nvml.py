"""What only the driver's library knows: NVLinks between GPUs. Asked on the live machine, if possible."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Optional

from numa_align.topology.gpu.pci import normalise_bdf
from numa_align.topology.model import Gpu

_MAX_LINKS = 36


def nvlinks(gpus: tuple[Gpu, ...]) -> Optional[tuple[tuple[int, ...], ...]]:
    """Number of active NVLinks from each GPU directly to each other one, in the order of ``gpus``.

    GPUs behind NVSwitches have links to these and none to each other: all zeros, as in Slurm's own NVML
    plugin. None if NVML is missing, fails, or knows other GPUs: nothing may fail because of this
    addition.
    """
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
        try:
            return tuple(_row(nvml, gpu, gpus) for gpu in gpus)
        finally:
            nvml.nvmlShutdown()
    except Exception:  # no module, no library, another driver
        return None


def _row(nvml: Any, gpu: Gpu, gpus: tuple[Gpu, ...]) -> tuple[int, ...]:
    handle = nvml.nvmlDeviceGetHandleByPciBusId(gpu.bdf.encode())
    counts = {other.bdf: 0 for other in gpus}
    for link in range(_MAX_LINKS):
        try:
            if not nvml.nvmlDeviceGetNvLinkState(handle, link):
                continue
            bus_id = nvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, link).busId
        except nvml.NVMLError:
            break
        remote = normalise_bdf(bus_id.decode() if isinstance(bus_id, bytes) else bus_id)
        if remote in counts:
            counts[remote] += 1
    return tuple(counts[other.bdf] for other in gpus)
