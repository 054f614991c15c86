"""Where no cgroup confines a step, the plugin still keeps to the CPUs that Slurm gave it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from e2e.machines import configured
from e2e.steps import allocated

from native import Native

from . import asking

pytestmark = pytest.mark.native


@pytest.fixture(scope="module", params=["task/affinity", None], ids=["affinity", "no task plugin"])
def unconfined(request: pytest.FixtureRequest, native: Native) -> Iterator[Native]:
    with configured(native, replace(native.config, task_plugin=request.param)):
        yield native


@pytest.mark.skipif("__import__('os').cpu_count() < 2", reason="needs a CPU outside the step")
def test_two_jobs_of_one_core_each_never_share_it(unconfined: Native) -> None:
    with allocated(unconfined, "-n1 --gpus=1") as one, allocated(unconfined, "-n1 --gpus=1") as other:
        first = asking.ask(unconfined, one, "--gpus=1 --numa-align").cpus
        second = asking.ask(unconfined, other, "--gpus=1 --numa-align").cpus
    assert len(first) == len(second) == unconfined.topology.threads
    assert first.isdisjoint(second)
