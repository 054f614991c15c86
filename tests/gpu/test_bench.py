"""numa-align bench: its copies are those that a plain loop of PyTorch measures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numa_align.bench.gpu_copies import TOOLKITS, pinned, toolkit_of
from numa_align.topology.model import Gpu
from numa_align.topology.read import read_here

COPIES = Path(__file__).with_name("copies.py")


def _json(command: Sequence[str]) -> Any:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(f"$ {' '.join(command)}\n{done.stdout}")
    return json.loads(done.stdout)


@pytest.mark.skipif(
    len([node for node in read_here().nodes if node.cpus]) > 1, reason="the plain loop is on any node"
)
@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_pinned_copies_are_within_5_percent_of_a_plain_loop(gpus: tuple[Gpu, ...], toolkit: str) -> None:
    if find_spec(toolkit) is None:
        pytest.skip(f"{toolkit} is not installed")
    plain = _json([sys.executable, str(COPIES)])
    measured = _json([sys.executable, "-m", "numa_align", "bench", "--json", "--toolkit", toolkit])
    assert measured["toolkit"] == toolkit
    copies = {copy["gpu"]: copy for copy in measured["gpus"]}
    (gpu,) = (gpu for gpu in gpus if gpu.uuid == plain["gpu"])
    assert copies[gpu.bdf]["pinned_to_gpu"] == pytest.approx(plain["to_device"], rel=0.05)
    assert copies[gpu.bdf]["pinned_to_host"] == pytest.approx(plain["to_host"], rel=0.05)
    assert set(copies) == {gpu.bdf for gpu in gpus}


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_memory_is_pinned_where_it_is_for_a_while(toolkit: str) -> None:
    if find_spec(toolkit) is None:
        pytest.skip(f"{toolkit} is not installed")
    found = toolkit_of(toolkit)
    assert found is not None
    torch: Any = import_module("torch")  # which knows of any memory whether it is pinned
    torch.cuda.init()
    host = np.ones(8 << 20, dtype=np.uint8)
    with found[1].current(0), pinned(found[1], host):
        assert torch.from_numpy(host).is_pinned()
        assert np.all(host == 1)
    assert not torch.from_numpy(host).is_pinned()


def test_pin_memory_gives_the_same_memory_again() -> None:
    """Why bench does not use it: with a second node the memory would still be the first one's."""
    torch: Any = import_module("torch")
    first = torch.ones(8 << 20, dtype=torch.uint8).pin_memory()
    place = first.data_ptr()
    del first
    assert torch.ones(8 << 20, dtype=torch.uint8).pin_memory().data_ptr() == place
