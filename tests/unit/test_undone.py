"""Programs that set their own CPUs: what they were given, compared with what the kernel reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest
from numa_align.process.state import Policy, ProcessState
from numa_align.process.undone import undone
from unit.big_machine import BIG

GIVEN = {"NUMA_ALIGN_CPUS": "0-27", "NUMA_ALIGN_MEMS": "0"}


NEAR = Policy("preferred-many", (0,))


def look(cpus: tuple[int, ...], policy: Policy = NEAR, env: Mapping[str, str] = GIVEN) -> str:
    return undone(ProcessState(1, cpus, (0, 1), policy, {}, {}), env, frozenset(BIG.gpus[0].cpus)) or ""


def test_who_keeps_to_his_place_or_a_part_of_it_has_undone_nothing() -> None:
    assert look(tuple(range(28))) == look((3, 4)) == ""
    assert look(tuple(range(28)), Policy("default")) == look((3,), Policy("local")) == ""


def test_other_cpus_are_said_with_what_they_cost() -> None:
    assert look(BIG.online) == (
        "undone: the program has set its own CPUs: given 0-27, now 0-223; "
        "112 of them are not near its GPUs, 84 may be other tasks'"
    )
    assert look(tuple(range(56))).endswith("; 28 of them may be other tasks'")


def test_another_policy_is_said() -> None:
    said = look((0,), Policy("bind", (1,)))
    assert said == ("undone: the program has set its own memory policy: given nodes 0, now bind:1")


def test_what_the_user_bound_the_program_has_not_set() -> None:
    assert look((0,), Policy("bind", (1,)), {**GIVEN, "SLURM_MEM_BIND_TYPE": "map_mem:"}) == ""


@pytest.mark.parametrize("env", [{}, {"NUMA_ALIGN_CPUS": "x", "NUMA_ALIGN_MEMS": "?"}])
def test_who_was_not_placed_can_undo_nothing(env: dict[str, str]) -> None:
    assert look(BIG.online, Policy("bind", (1,)), env) == ""


#: What TensorRT-LLM does unless told not to.
LEAVES = """
import os, sys
os.sched_setaffinity(0, range(os.cpu_count()))
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_job_and_check_see_a_process_that_has_left_its_place() -> None:
    run = [sys.executable, "-m", "numa_align"]
    words = [*run, "run", "--local-rank", "0", "--local-world-size", "2", sys.executable, "-c", LEAVES]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = process.stdout.readline().strip()
        job, check = (
            subprocess.run([*run, *question], capture_output=True, text=True, check=False, timeout=60)
            for question in (["job", "--pid", pid, "--json"], ["check", "--pid", pid])
        )
        process.communicate("")
    (seen,) = json.loads(job.stdout)["processes"]
    assert seen["undone"].startswith("undone: the program has set its own CPUs: given ")
    assert job.returncode == 1
    assert "undone: the program has set its own CPUs" in check.stdout
    assert check.returncode in (1, 2), "2 on a machine without GPUs"


def test_check_without_a_gpu_cannot_tell() -> None:
    run = [sys.executable, "-m", "numa_align"]
    topology = subprocess.run([*run, "topo", "--json"], capture_output=True, text=True, check=True).stdout
    if json.loads(topology)["gpus"]:
        pytest.skip("this machine has GPUs")
    check = subprocess.run([*run, "check"], capture_output=True, text=True, check=False)
    assert check.returncode == 2 and "gpu none" in check.stdout
    assert "no GPU is visible to this process" in check.stdout and "  aligned" not in check.stdout
