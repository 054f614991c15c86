"""How fast this process copies pinned memory to its GPU and back, with plain PyTorch: one line of JSON.

python3 copies.py [--mib N] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from importlib import import_module
from typing import Any

torch: Any = import_module("torch")


def rate(target: Any, source: Any, rounds: int) -> float:
    """GB/s (10**9 bytes) of the median round, by wall clock around a synchronised copy."""
    spent = []
    for _ in range(rounds + 3):  # the first three warm up
        torch.cuda.synchronize()
        begin = time.perf_counter()
        target.copy_(source, non_blocking=True)
        torch.cuda.synchronize()
        spent.append(time.perf_counter() - begin)
    return float(source.numel() / statistics.median(spent[3:]) / 1e9)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    local = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)
    number = local % torch.cuda.device_count()
    torch.cuda.set_device(number)
    host = torch.ones(options.mib << 20, dtype=torch.uint8).pin_memory()
    device = torch.empty_like(host, device=f"cuda:{number}")
    report = {
        "rank": int(os.environ.get("SLURM_PROCID") or 0),
        "gpu": f"GPU-{torch.cuda.get_device_properties(number).uuid}",
        "mib": options.mib,
        "to_device": round(rate(device, host, options.rounds), 2),
        "to_host": round(rate(host, device, options.rounds), 2),
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
