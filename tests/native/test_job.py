"""`numa-align job`: the job's processes are shown, whatever they and others call themselves."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest
from e2e.steps import allocated

from native import Native

pytestmark = pytest.mark.native


@contextlib.contextmanager
def running(native: Native, command: str, seconds: int, *, user: str) -> Iterator[None]:
    """A program that ends in a sleep of so many seconds, until that is gone."""
    process = native.start(["sh", "-c", command], user=user)
    try:
        native.run(f"until pgrep -f '^[^ ]+ {seconds}$'; do sleep 0.05; done", check=True, timeout=20)
        yield
    finally:
        # Slurm itself does not end what is called slurmstepd (proctrack/linuxproc).
        native.run(f"pkill -f '^[^ ]+ {seconds}$'")
        process.communicate(timeout=20)


def names(native: Native, job: str, user: str = "root") -> list[str]:
    result = native.run(f"numa-align job {job} --json", user=user)
    assert "Traceback" not in result.stderr
    return [process["name"] for process in json.loads(result.stdout)["processes"]] if result.stdout else []


def test_a_process_of_a_step_that_is_called_slurmstepd_is_shown(native: Native) -> None:
    for name in ("slurmstepd", "slurmstepdX"):
        native.run(f"cp $(readlink -f /usr/bin/sleep) /tmp/{name}; chmod 755 /tmp/{name}", check=True)
        with (
            allocated(native, "-n1 --gpus=1") as job,
            running(native, f"srun --jobid={job} --overlap -n1 /tmp/{name} 771", 771, user="user"),
        ):
            assert names(native, job) == names(native, job, "user") == [name]


def test_a_process_that_claims_the_job_counts_if_it_is_the_owners(native: Native) -> None:
    say = "SLURM_JOB_ID={} exec sleep {}"
    with allocated(native, "-n1 --gpus=1") as job, running(native, say.format(job, 772), 772, user="mallory"):
        assert names(native, job) == []
        assert names(native, job, "user") == []
        with running(native, say.format(job, 773), 773, user="user"):
            assert names(native, job) == names(native, job, "user") == ["sleep"]
