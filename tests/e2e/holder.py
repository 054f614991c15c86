"""Opens the GPU of its local id, touches memory, and sleeps; with ``widen`` it takes all CPUs that it may."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def openable(minor: int) -> int | None:
    try:
        return os.open(f"/dev/nvidia{minor}", os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None


def main() -> None:
    descriptors = [(minor, fd) for minor in range(8) if (fd := openable(minor)) is not None]
    mine = int(os.environ["SLURM_LOCALID"]) % len(descriptors)
    for number, (_, descriptor) in enumerate(descriptors):
        if number != mine:
            os.close(descriptor)
    block = bytearray(32 << 20)
    block[::4096] = b"x" * len(block[::4096])
    if "widen" in sys.argv and os.environ["SLURM_PROCID"] == "0":
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    name = f"{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_PROCID']}"
    Path(f"/tmp/holder.{name}").write_text(f"{os.getpid()} {descriptors[mine][0]}")
    time.sleep(1000)
    assert block


main()
