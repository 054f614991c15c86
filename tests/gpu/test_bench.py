"""numa-align bench: its copies are those that a plain loop of PyTorch measures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numa_align.bind import set_policy
from numa_align.measure import _filled, _pinned
from numa_align.model import Gpu
from numa_align.topology import read_topology

COPIES = Path(__file__).with_name("copies.py")


def _json(command: Sequence[str]) -> Any:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(f"$ {' '.join(command)}\n{done.stdout}")
    return json.loads(done.stdout)


@pytest.mark.skipif(
    len([node for node in read_topology().nodes if node.cpus]) > 1, reason="the plain loop is on any node"
)
def test_pinned_copies_are_within_5_percent_of_a_plain_loop(gpus: tuple[Gpu, ...]) -> None:
    plain = _json([sys.executable, str(COPIES)])
    measured = _json([sys.executable, "-m", "numa_align", "bench", "--json"])
    copies = {copy["gpu"]: copy for copy in measured["gpus"]}
    (gpu,) = (gpu for gpu in gpus if gpu.uuid == plain["gpu"])
    assert copies[gpu.bdf]["pinned_to_gpu"] == pytest.approx(plain["to_device"], rel=0.05)
    assert copies[gpu.bdf]["pinned_to_host"] == pytest.approx(plain["to_host"], rel=0.05)
    assert set(copies) == {gpu.bdf for gpu in gpus}


def test_memory_is_pinned_where_it_was_bound_and_not_given_again() -> None:
    torch: Any = import_module("torch")
    torch.cuda.init()
    node = read_topology().nodes[0].id
    set_policy("bind", (node,))
    try:
        buffer = _filled(torch, 8 << 20)
    finally:
        set_policy("default")
    with _pinned(torch, buffer) as pinned:
        assert pinned.is_pinned()
        assert pinned.data_ptr() == buffer.data_ptr()
        assert np.all(pinned.numpy() == 1)
    assert not buffer.is_pinned()


def test_pin_memory_gives_the_same_memory_again() -> None:
    """Why bench does not use it: with a second node the memory would still be the first one's."""
    torch: Any = import_module("torch")
    first = torch.ones(8 << 20, dtype=torch.uint8).pin_memory()
    place = first.data_ptr()
    del first
    assert torch.ones(8 << 20, dtype=torch.uint8).pin_memory().data_ptr() == place
