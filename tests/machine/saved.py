"""Keep the memory of a booted machine, so that the next one of its shape is ready in a second.

QEMU writes a running machine to a file as it would migrate it to another host. The guest's root is read-only
with an overlay in memory, so that file and the disk are the whole machine. Slurm does not run in it yet.
"""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qemu.qmp import ConnectError, QMPClient

from . import background
from .cache import digest
from .hardware import Hardware
from .qemu import QEMU, Qemu, QemuError

LIMIT = 60.0

PAUSE = 0.02

KEPT = 8
"""Shapes whose memory is kept; each takes some 130 MB of disk."""


def key_of(arguments: Sequence[str], topology: Hardware, image_key: str) -> str:
    """A hash of all that a saved state depends on.

    The host's CPU is among it: the emulated TSC is the host's, and a guest that woke up on another host would
    have calibrated its clock to the wrong one.
    """
    version = subprocess.run(
        [QEMU, "--version"], stdout=subprocess.PIPE, check=True, timeout=30, text=True
    ).stdout
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line for line in lines if line.startswith("model name")), "")
    return digest(version, model, image_key, repr(topology), *arguments)


def save(qemu: Qemu, state: Path) -> None:
    """Write the machine to a file. It is stopped afterwards."""

    async def migrate() -> None:
        monitor = await _connected(qemu)
        await monitor.execute("migrate-set-parameters", {"max-bandwidth": 1 << 40})
        await monitor.execute("migrate", {"uri": f"exec:cat >{shlex.quote(str(state))}"})
        while (status := await _status(monitor, "query-migrate")) != "completed":
            if status in ("failed", "cancelled"):
                raise QemuError(f"saving the machine has {status}\n{qemu.said()}")
            await asyncio.sleep(PAUSE)
        await monitor.disconnect()

    background.wait_for(migrate(), LIMIT)


def resume_arguments(state: Path) -> list[str]:
    """To be added to the arguments with which the machine was booted."""
    return ["-incoming", f"exec:cat {shlex.quote(str(state))}"]


def await_running(qemu: Qemu) -> None:
    """Wait until a resumed machine runs. What is sent to its guest agent before that is lost."""

    async def watch() -> None:
        monitor = await _connected(qemu)
        while await _status(monitor, "query-status") != "running":
            await asyncio.sleep(PAUSE)
        await monitor.disconnect()

    try:
        background.wait_for(watch(), LIMIT)
    except (EOFError, ConnectionError):
        time.sleep(PAUSE)
        qemu.check()
        raise


async def _connected(qemu: Qemu) -> QMPClient:
    """The socket's file exists a moment before QEMU listens on it, which shows on a busy host."""
    while not qemu.monitor_socket.exists():
        qemu.check()
        await asyncio.sleep(PAUSE)
    while True:
        monitor = QMPClient("monitor")
        try:
            await monitor.connect(str(qemu.monitor_socket))
        except ConnectError as error:
            if not isinstance(error.exc, ConnectionRefusedError):
                raise
            qemu.check()
            await asyncio.sleep(PAUSE)
        else:
            return monitor


async def _status(monitor: QMPClient, request: str) -> str:
    answer: Any = await monitor.execute(request)
    return str(answer.get("status", ""))
