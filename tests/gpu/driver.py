"""What the driver reports of its GPUs, from NVML and the kernel directly, without code of the project."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Optional

#: Runs a command with the driver's list of GPUs out of sight, as containers have it.
_WITHOUT_FILES = (
    "set -e; work=$(mktemp -d); cp /proc/driver/nvidia/params /proc/driver/nvidia/version $work; "
    "mount -t tmpfs driver /proc/driver/nvidia; cp $work/* /proc/driver/nvidia; rm -r $work; "
    'exec "$@"'
)


@dataclass(frozen=True)
class Device:
    """A GPU as NVML describes it; ``bus_id`` as NVML writes it."""

    bus_id: str
    minor: int
    uuid: str
    name: str


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def by_nvml() -> tuple[Device, ...]:
    """All GPUs, in NVML's order."""
    nvml = import_module("pynvml")
    nvml.nvmlInit()
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        return tuple(
            Device(
                _text(nvml.nvmlDeviceGetPciInfo(handle).busId),
                int(nvml.nvmlDeviceGetMinorNumber(handle)),
                _text(nvml.nvmlDeviceGetUUID(handle)),
                _text(nvml.nvmlDeviceGetName(handle)),
            )
            for handle in handles
        )
    finally:
        nvml.nvmlShutdown()


def hiding(command: Sequence[str]) -> list[str]:
    """The command, made not to see /proc/driver/nvidia/gpus. Needs root."""
    return ["unshare", "--mount", "sh", "-c", _WITHOUT_FILES, "sh", *command]


def without_files(command: Sequence[str]) -> str:
    """Standard output of a command that does not see /proc/driver/nvidia/gpus. Needs root."""
    return subprocess.run(hiding(command), stdout=subprocess.PIPE, text=True, check=True).stdout


def topology_json(*, with_files: bool = True) -> dict[str, Any]:
    """``numa-align topo --json`` of this machine."""
    command = [sys.executable, "-m", "numa_align", "topo", "--json"]
    if with_files:
        text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    else:
        text = without_files(command)
    found: dict[str, Any] = json.loads(text)
    return found


def driver_version() -> Optional[str]:
    """What libnvidia-ml says of the driver."""
    nvml = import_module("pynvml")
    nvml.nvmlInit()
    try:
        return _text(nvml.nvmlSystemGetDriverVersion())
    finally:
        nvml.nvmlShutdown()


def running_on(bdf: str) -> set[int]:
    """Processes that compute on a GPU, in the numbers of the outermost PID namespace."""
    nvml = import_module("pynvml")
    nvml.nvmlInit()
    try:
        handle = nvml.nvmlDeviceGetHandleByPciBusId(bdf.encode())
        return {process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
    finally:
        nvml.nvmlShutdown()
