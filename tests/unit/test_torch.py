"""Real PyTorch: torchrun's workers and DataLoader's, bound apart by the kernel's word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed (pip install torch)"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs"),
]

TRAIN = """
import json, os, sys
import numa_align
if "bind" in sys.argv:
    numa_align.bind_local_rank()
mine = sorted(os.sched_getaffinity(0))
import torch
from torch.utils.data import DataLoader, Dataset

class Cpus(Dataset):
    def __len__(self): return 2
    def __getitem__(self, index):
        cpus = os.sched_getaffinity(0)
        return torch.tensor([len(cpus), min(cpus)])

if __name__ == "__main__":
    loader = DataLoader(Cpus(), num_workers=1, worker_init_fn=numa_align.worker_init,
                        multiprocessing_context="spawn")
    seen = [[int(n) for n in batch[0]] for batch in loader]
    line = {"rank": int(os.environ["LOCAL_RANK"]), "cpus": mine, "loader": seen,
            "state": os.environ["NUMA_ALIGN_STATE"]}
    print(json.dumps(line) + "\\n", end="", flush=True)
"""


@pytest.mark.parametrize("how", ["run", "bind"])
def test_torchruns_workers_and_their_loaders_have_cpus_of_their_own(tmp_path: Path, how: str) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    align = [sys.executable, "-m", "numa_align", "run"]
    program = [sys.executable, "train.py"]
    words = {"run": ["--no-python", *align, *program], "bind": ["--no-python", *program, "bind"]}[how]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMA_ALIGN", "SLURM_"))}
    result = subprocess.run(
        [*torchrun, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    workers = {line["rank"]: line for line in lines}
    assert set(workers) == {0, 1}
    assert not set(workers[0]["cpus"]) & set(workers[1]["cpus"])
    for worker in workers.values():
        assert worker["state"] == "aligned"
        assert worker["loader"] == [[len(worker["cpus"]), min(worker["cpus"])]] * 2
