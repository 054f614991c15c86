"""Real PyTorch: the kernel reports torchrun's and DataLoader's workers on separate CPUs.

The CPU build will do; Debian 13 has one, python3-torch, for its own Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from numa_align.topology.select import repeats

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")

ROOT = Path(__file__).resolve().parents[2]

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


@pytest.fixture(scope="module")
def python() -> str:
    """A Python that has PyTorch and what the command needs: this one, Debian's, or that of the launchers.

    Not PyTorch 1.13, Debian 12's: its torchrun does not start with Python 3.11 (Flag of enum changed).
    """
    question = (
        "import sys; from importlib.metadata import version; from importlib.util import find_spec\n"
        "there = all(map(find_spec, ['torch', 'numpy', 'click', 'cffi']))\n"
        "sys.exit(not there or version('torch') < '2')"
    )
    for candidate in (sys.executable, "/usr/bin/python3", os.environ.get("NUMA_ALIGN_LAUNCHERS", "false")):
        if subprocess.run([candidate, "-c", question], check=False, timeout=60).returncode == 0:
            return candidate
    pytest.skip("there is no PyTorch 2: apt-get install python3-torch (Debian 13), or pip install torch")


@pytest.mark.parametrize("how", ["run", "bind"])
def test_torchruns_workers_and_their_loaders_have_cpus_of_their_own(
    tmp_path: Path, python: str, how: str
) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    torchrun = [python, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    align = [python, "-m", "numa_align", "run"]
    program = [python, "train.py"]
    words = {"run": ["--no_python", *align, *program], "bind": ["--no_python", *program, "bind"]}[how]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMA_ALIGN", "SLURM_"))}
    environment["PYTHONPATH"] = str(ROOT / "prolog")
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


#: Beginning with a GPU: of one that begins otherwise nothing is known here, and PyTorch shows none.
LISTS = ("0", "0,1", "0,0", "3,5,3", "7, 7", "007,7", "0,-1,0", "0,x,0", "GPU-ab,GPU-ab", "GPU-ab,GPU-cd")


def test_pytorch_reads_a_gpu_named_twice_as_none(python: str) -> None:
    """It takes the driver's place where it counts GPUs without starting CUDA."""
    program = (
        "import json, os, sys, torch.cuda\n"
        "def read(text):\n"
        "    os.environ['CUDA_VISIBLE_DEVICES'] = text\n"
        "    return torch.cuda._parse_visible_devices()\n"
        "print(json.dumps([read(text) for text in sys.argv[1:]]))\n"
    )
    done = subprocess.run([python, "-c", program, *LISTS], capture_output=True, check=True, timeout=300)
    assert [not shown for shown in json.loads(done.stdout)] == [repeats(text) for text in LISTS]
