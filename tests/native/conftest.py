"""One native cluster per Slurm version for all tests: it is up in a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e.machines import ROOT
from e2e.steps import PROBE_FILE
from machine import RELEASES

from native import Native, why_not
from native.own_slurm import own_slurm

OWN = own_slurm()

#: `make test` runs one version in full; of the others it sees what is left in tests/e2e. A site runs its own.
VERSIONS = (
    [pytest.param(v, marks=() if v == "24.11" else pytest.mark.matrix) for v in RELEASES]
    if OWN is None
    else [pytest.param(OWN.release)]
)


@pytest.fixture(scope="session", params=VERSIONS)
def native(request: pytest.FixtureRequest) -> Iterator[Native]:
    """Eight GPUs on the host's own CPUs, the project installed, the probe in place."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Native(request.param, project=ROOT) as cluster:
        cluster.put({"/opt/probe.py": PROBE_FILE.read_bytes()})
        yield cluster
