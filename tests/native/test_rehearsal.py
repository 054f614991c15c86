"""A site tries `on` without consequences, and leaves users and partitions alone: real Slurm, real kernel."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from e2e.steps import PROBE, allocated, ranks_of

from native import Native

from .asking import ask, said_by_plugin, site

pytestmark = pytest.mark.native

DEFAULT = ("default", ())


@pytest.fixture(scope="module")
def job(native: Native) -> Iterator[str]:
    with allocated(native, "-n1 --gpus=4") as number:
        yield number


def test_a_rehearsal_decides_and_sets_nothing(native: Native, job: str) -> None:
    without = ask(native, job, "-c1 --gpus=1")
    with site(native, "on,dry,mem=bind"):
        rank = ask(native, job, "-c1 --gpus=1")
    with site(native, "on,mem=bind"):
        real = ask(native, job, "-c1 --gpus=1")
    assert (rank.mode, rank.nodes, rank.cpus) == (*DEFAULT, without.cpus)
    assert set(rank.environment) == {"NUMA_ALIGN_DRY"}
    state, gpus, cpus, mems = rank.environment["NUMA_ALIGN_DRY"].split()
    assert state == real.environment["NUMA_ALIGN_STATE"] == "aligned"
    assert gpus == f"gpus={real.environment['NUMA_ALIGN_GPUS']}"
    assert cpus == f"cpus={real.environment['NUMA_ALIGN_CPUS']}"
    assert mems == f"mems={real.environment['NUMA_ALIGN_MEMS']}"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("on dyr", '"dyr": did you mean dry?'),
        ("on,dyr", "did you mean dry?"),
        ("on exept-users=user", "did you mean except-users=?"),
        ("on mem=bnid", 'did you mean "mem=bind"?'),
    ],
)
def test_a_mistyped_site_word_aligns_no_task_and_is_logged_by_slurmd(
    native: Native, job: str, words: str, meant: str
) -> None:
    """A site that meant to rehearse must not bind its users; users who ask for it are served nevertheless."""
    lines = int(native.run("cat /var/log/slurm/*.log | wc -l", check=True).stdout)
    with site(native, words):
        rank = ask(native, job, "-c1 --gpus=1")
        asked = ask(native, job, "-c1 --gpus=1 --numa-align")
    assert not rank.environment and (rank.mode, rank.nodes) == DEFAULT
    assert asked.environment["NUMA_ALIGN_STATE"] == "aligned"
    log = native.run(f"cat /var/log/slurm/*.log | tail -n +{lines}", check=True).stdout
    assert "numa-align: plugstack.conf: " in log and meant in log


def test_audit_tells_what_the_rehearsal_would_change(native: Native, job: str) -> None:
    """The native cluster has no cgroups: audit finds the step by its slurmstepd."""
    with site(native, "on,dry"):
        step = f"srun --jobid={job} --overlap -n1 --gpus=1 sleep 60"
        running = native.start(["bash", "-c", step], user="user")
        try:
            task = _audited(native, job)
        finally:
            running.kill()
            running.wait()
            native.run(f"scancel {job}.0; pkill -x sleep")
    assert task["would"] == "aligned"
    assert task["would_cpus"]


def _audited(native: Native, job: str) -> dict[str, object]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        sample = json.loads(native.run("numa-align audit --json", check=True).stdout)
        found = [task for task in sample["tasks"] if task["would"] is not None]
        if found:
            assert sample["totals"]["rehearsed"] == 1
            return dict(found[0])
        time.sleep(0.2)
    raise AssertionError("audit shows no task of the rehearsal")


@pytest.mark.parametrize("words", ["on dry strict verbose", "on,strict dry"])
def test_nothing_is_said_and_nobody_is_stopped_in_a_rehearsal(native: Native, job: str, words: str) -> None:
    with site(native, words):
        step = f"srun --jobid={job} --overlap -n1 --gpus=1 --cpu-bind=map_cpu:0 {PROBE}"
        result = native.run(step, user="user", check=True)
    assert said_by_plugin(result) == ""
    assert len(ranks_of(result)) == 1


def test_who_asks_during_a_rehearsal_is_aligned(native: Native, job: str) -> None:
    with site(native, "on,dry"):
        by_option = ask(native, job, "--gpus=1 --numa-align=mem=bind")
        by_variable = ask(native, job, "--gpus=1", {"NUMA_ALIGN": "on,mem=bind"})
    for rank in (by_option, by_variable):
        assert rank.mode == "bind" and "NUMA_ALIGN_DRY" not in rank.environment


def test_dry_alone_turns_nothing_on(native: Native, job: str) -> None:
    with site(native, "dry"):
        assert ask(native, job, "--gpus=1").environment == {}


@pytest.mark.parametrize("words", ["on,dry", "on except-users=user"])
def test_a_step_drops_the_variables_of_the_aligned_script(native: Native, words: str) -> None:
    with site(native, words):
        script = f"srun -n1 {PROBE}; srun -n1 --numa-align {PROBE}"
        result = native.run(
            ["salloc", "--quiet", "-n1", "--gpus=1", "bash", "-c", f"export NUMA_ALIGN_STATE=old; {script}"],
            user="user",
            check=True,
        )
    first, second = (json.loads(line)["environment"] for line in result.stdout.splitlines())
    assert "NUMA_ALIGN_STATE" not in first
    assert second["NUMA_ALIGN_STATE"] == "aligned"


@pytest.mark.parametrize(
    ("words", "stands_down"),
    [
        ("except-users=user", True),
        ("except-users=root:user", True),
        ("except-users=1000", True),
        ("except-users=use:users:User:10000", False),
        ("except-users=", False),
        ("except-partitions={partition}", True),
        ("except-partitions=no,except-users=no", False),
        ("except-partitions=no:{partition} mem=bind", True),
        ("except-users=user except-users=no", False),
    ],
)
def test_a_site_leaves_users_and_partitions_alone(
    native: Native, job: str, words: str, stands_down: bool
) -> None:
    partition = native.run("sinfo --noheader --format=%R", check=True).stdout.split()[0]
    uid = native.run("id -u", user="user", check=True).stdout.strip()
    words = words.format(partition=partition).replace("1000", uid)
    with site(native, f"on {words}"):
        alone = ask(native, job, "--gpus=1")
        asked = ask(native, job, "--gpus=1 --numa-align")
    assert (alone.environment == {}) == stands_down
    assert asked.environment["NUMA_ALIGN_STATE"] == "aligned"


@pytest.mark.parametrize("words", ["users=user", "partitions={partition}"])
def test_the_batch_script_is_left_alone_too(native: Native, words: str) -> None:
    partition = native.run("sinfo --noheader --format=%R", check=True).stdout.split()[0]
    native.put({"/tmp/except.sh": f"#!/bin/bash\n{PROBE}\n"}, mode=0o755)
    with site(native, f"on except-{words.format(partition=partition)}"):
        command = "sbatch --wait -n1 --gpus=1 -o /tmp/except.out /tmp/except.sh"
        native.run(command, user="user", check=True)
    (rank,) = ranks_of(native.run("cat /tmp/except.out", check=True))
    assert rank.environment == {} and rank.mode == "default"


def test_the_words_are_the_sites_and_no_users(native: Native, job: str) -> None:
    step = f"srun --jobid={job} --overlap -n1 --gpus=1 --numa-align=dry {PROBE}"
    result = native.run(step, user="user")
    assert result.status != 0 and "dry" in said_by_plugin(result)
