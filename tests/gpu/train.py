"""A training of a few steps in PyTorch, as a task; ends with one line of JSON: what the kernel and CUDA say.

    srun --numa-align python3 train.py [--workers N] [--seconds S]

It knows nothing of NUMA, and takes the GPU of its local id, as training programs do. It shares no code
with the project.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import time
from importlib import import_module
from pathlib import Path
from typing import Any

torch: Any = import_module("torch")

FEATURES, BATCH = 256, 64
MODES = ("default", "preferred", "bind", "interleave", "local", "preferred-many")
GET_MEMPOLICY = 239 if os.uname().machine == "x86_64" else 236


class Samples(torch.utils.data.Dataset):  # type: ignore[misc]
    """Random samples, labelled by their brighter half; each carries its maker's CPUs."""

    def __len__(self) -> int:
        return 1 << 20

    def __getitem__(self, number: int) -> tuple[Any, Any, str]:
        generator = torch.Generator().manual_seed(number)
        sample = torch.randn(FEATURES, generator=generator)
        label = (sample[: FEATURES // 2].sum() > sample[FEATURES // 2 :].sum()).long()
        return sample, label, f"{os.getpid()}:{','.join(map(str, sorted(os.sched_getaffinity(0))))}"


def mempolicy() -> tuple[str, list[int]]:
    mode, nodes = ctypes.c_int(), (ctypes.c_ulong * 16)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(GET_MEMPOLICY, ctypes.byref(mode), nodes, ctypes.c_ulong(1024), None, 0) != 0:
        raise OSError(ctypes.get_errno(), "get_mempolicy")
    bits = sum(word << (64 * i) for i, word in enumerate(nodes))
    return MODES[mode.value & 0xFF], [bit for bit in range(1024) if bits >> bit & 1]


def cpus_of_threads() -> list[list[int]]:
    """The different CPU sets that threads of this process have."""
    sets = set()
    for path in Path("/proc/self/task").iterdir():
        try:
            sets.add(tuple(sorted(os.sched_getaffinity(int(path.name)))))
        except ProcessLookupError:
            continue  # ended since it was listed
    return sorted(list(cpus) for cpus in sets)


def train(device: Any, workers: int, seconds: float) -> tuple[float, float, dict[str, str]]:
    """Train; returns the first and the last loss, and the CPUs of each process that made samples."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, FEATURES), torch.nn.ReLU(), torch.nn.Linear(FEATURES, 2)
    ).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = torch.utils.data.DataLoader(Samples(), batch_size=BATCH, num_workers=workers, pin_memory=True)
    losses = []
    makers: dict[str, str] = {}
    begin = time.monotonic()
    for step, (samples, labels, made_by) in enumerate(loader):
        makers.update(entry.split(":") for entry in made_by)
        scores = model(samples.to(device, non_blocking=True))
        loss = torch.nn.functional.cross_entropy(scores, labels.to(device, non_blocking=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step >= 40 and time.monotonic() - begin >= seconds:
            break
    return sum(losses[:5]) / 5, sum(losses[-5:]) / 5, makers


def uuid(device: int) -> str:
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.0, help="go on at least so long")
    options = parser.parse_args()
    local = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)
    visible = torch.cuda.device_count()
    number = local % visible
    torch.cuda.set_device(number)
    first, last, makers = train(torch.device("cuda", number), options.workers, options.seconds)
    mode, nodes = mempolicy()
    report = {
        "rank": int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0),
        "pid": os.getpid(),
        "visible": [uuid(n) for n in range(visible)],
        "used": uuid(number),
        "cpus": sorted(os.sched_getaffinity(0)),
        "threads": cpus_of_threads(),
        "workers": [
            [int(cpu) for cpu in cpus.split(",")] for pid, cpus in makers.items() if int(pid) != os.getpid()
        ],
        "mode": mode,
        "nodes": nodes,
        "loss": [first, last],
        "may_open": [n for n in range(16) if os.access(f"/dev/nvidia{n}", os.R_OK | os.W_OK)],
        "environment": {
            name: value
            for name, value in os.environ.items()
            if name.startswith("NUMA_ALIGN") or name in ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS")
        },
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
