"""Run as a task of tests/bench/cache.py: takes memory in one of several ways and says where it is.

    python3 touch.py FOLDER TASKS MIB small|huge|numpy slow|burst

One line of JSON: MiB by node (numa_maps), milliseconds for touching. The memory is kept until all tasks
have written theirs to FOLDER, so that each has the others beside it.
"""

import json
import mmap
import os
import sys
import time
from pathlib import Path
from typing import Union

WAIT = 90.0
STEP = 1 << 20


def memory(pages: str, size: int) -> Union[mmap.mmap, memoryview]:
    """New memory in small or huge pages, or as numpy takes it for an array."""
    if pages == "numpy":
        import numpy as np  # noqa: PLC0415 - takes a second in an emulated machine

        return np.empty(size, np.uint8).data
    area = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_HUGEPAGE if pages == "huge" else mmap.MADV_NOHUGEPAGE)
    return area


def touch(area: Union[mmap.mmap, memoryview], *, slow: bool) -> None:
    for start in range(0, len(area), STEP):
        area[start : start + STEP : mmap.PAGESIZE] = b"\x01" * (STEP // mmap.PAGESIZE)
        if slow:
            time.sleep(0.02)


def by_node(size: int) -> dict[str, float]:
    """MiB of the one mapping that holds at least half of ``size``: the area, merged or not."""
    found: dict[str, float] = {}
    with open("/proc/self/numa_maps") as file:
        for line in file:
            words = dict(word.partition("=")[::2] for word in line.split())
            if int(words.get("anon", 0)) * mmap.PAGESIZE < size // 2 or "file" in words:
                continue
            for key, value in words.items():
                if key[0] == "N" and key[1:].isdigit():
                    found[key[1:]] = found.get(key[1:], 0) + int(value) * mmap.PAGESIZE / 2**20
    return found


def main() -> None:
    folder, tasks, mib, pages, speed = sys.argv[1:6]
    size = int(mib) << 20
    area = memory(pages, size)
    start = time.monotonic()
    touch(area, slow=speed == "slow")
    milliseconds = round(1000 * (time.monotonic() - start))
    said = {"rank": int(os.environ["SLURM_PROCID"]), "nodes": by_node(size), "ms": milliseconds}
    Path(folder, os.environ["SLURM_PROCID"]).write_text("")
    print(json.dumps(said), flush=True)
    end = time.monotonic() + WAIT
    while len(list(Path(folder).iterdir())) < int(tasks) and time.monotonic() < end:
        time.sleep(0.05)


main()
