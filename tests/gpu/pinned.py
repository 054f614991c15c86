"""Pins host memory by PyTorch, CuPy or a DataLoader, and reports where it is: one line of JSON.

python3 pinned.py torch|cupy|loader [--mib N]

"by_policy": bytes present in mappings of /dev/zero and /dev/shm, by the policy that the kernel shows for each
(proc_pid_numa_maps(5)). "check": what `numa-align check` says of this process at the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

torch: Any = import_module("torch")


class Samples(torch.utils.data.Dataset):  # type: ignore[misc]
    """Each of one MiB."""

    def __init__(self, mib: int) -> None:
        self.mib = mib

    def __len__(self) -> int:
        return self.mib

    def __getitem__(self, index: int) -> Any:
        return torch.full((1 << 20,), index % 256, dtype=torch.uint8)


def pin(way: str, mib: int) -> Any:
    """Pinned memory of at least so many MiB, which is there as long as what is returned."""
    if way == "torch":
        return torch.ones(mib << 20, dtype=torch.uint8).pin_memory()
    if way == "cupy":
        cupy: Any = import_module("cupy")
        memory = cupy.cuda.alloc_pinned_memory(mib << 20)
        import_module("numpy").frombuffer(memory, "uint8", mib << 20)[:] = 1
        return memory
    batches = torch.utils.data.DataLoader(Samples(mib), batch_size=16, num_workers=2, pin_memory=True)
    return [batch for batch in batches if batch.is_pinned()]


def shared_by_policy() -> dict[str, int]:
    """What the kernel says of this process, read without the program under test."""
    found: Counter[str] = Counter()
    for line in Path("/proc/self/numa_maps").read_text().splitlines():
        words = line.replace("prefer (many)", "prefer-many").split()
        if not any(word.startswith(("file=/dev/zero", "file=/dev/shm/")) for word in words):
            continue
        size = next((int(word.partition("=")[2]) for word in words if word.startswith("kernelpagesize")), 4)
        pages = sum(int(word.partition("=")[2]) for word in words if word[0] == "N" and word[1].isdigit())
        found[words[1]] += pages * size * 1024
    return dict(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=["torch", "cupy", "loader"])
    parser.add_argument("--mib", type=int, default=256)
    options = parser.parse_args()
    torch.cuda.init()
    kept = pin(options.way, options.mib)
    check = subprocess.run(
        ["numa-align", "check", "--json", "--pid", str(os.getpid())],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    report = {"by_policy": shared_by_policy(), "check": json.loads(check.stdout), "status": check.returncode}
    print(json.dumps(report), flush=True)
    del kept


if __name__ == "__main__":
    main()
