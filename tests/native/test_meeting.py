"""Tasks of which one sees all GPUs and the other only some know what each other sees."""

from __future__ import annotations

import pytest
from e2e.steps import PROBE, ranks_of

from native import Native

pytestmark = pytest.mark.native


def test_tasks_that_see_all_and_some_gpus_share_no_core(native: Native) -> None:
    """Task 1 uses the second half of the eight that it sees, and comes before task 0 with the last."""
    command = f"srun --numa-align -n2 --gpus=8 --gpu-bind=mask_gpu:0x80,0xff {PROBE}"
    first, second = ranks_of(native.run(command, user="user", check=True))
    assert len(first.environment["NUMA_ALIGN_GPUS"].split(",")) == 1
    assert len(second.environment["NUMA_ALIGN_GPUS"].split(",")) == 4
    assert first.cpus and second.cpus and not set(first.cpus) & set(second.cpus)
