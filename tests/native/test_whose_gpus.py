"""Which GPUs a task has if everybody can open device files: Slurm's list, then the runtime's variable."""

from __future__ import annotations

import pytest
from e2e.steps import PROBE, ranks_of

from native import Native

from .asking import site

pytestmark = pytest.mark.native


def state(native: Native, options: str, env: dict[str, str] | None = None) -> tuple[str | None, str | None]:
    """NUMA_ALIGN_STATE and the GPUs of the one task."""
    result = native.run(f"srun -n1 {options} {PROBE}", user="user", env=env, check=True)
    (rank,) = ranks_of(result)
    return rank.environment.get("NUMA_ALIGN_STATE"), rank.environment.get("NUMA_ALIGN_GPUS")


@pytest.mark.parametrize("env", [{}, {"CUDA_VISIBLE_DEVICES": ""}, {"CUDA_VISIBLE_DEVICES": "0,1"}])
def test_a_job_without_gpus_has_none_of_those_that_slurm_gives_out(
    native: Native, env: dict[str, str]
) -> None:
    assert state(native, "--numa-align", env) == ("aligned", "")


def test_a_sites_on_leaves_steps_without_gpus_alone(native: Native) -> None:
    stale = {"NUMA_ALIGN_STATE": "aligned"}
    with site(native, "on verbose"):
        assert state(native, "", stale) == (None, None)
        assert state(native, "--gpus=1")[0] == "aligned"
        assert state(native, "--numa-align") == ("aligned", "")
        assert state(native, "", {"NUMA_ALIGN": "on"}) == ("aligned", "")
    with site(native, "on steps=all"):
        assert state(native, "") == ("aligned", "")
