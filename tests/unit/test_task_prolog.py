"""The task prolog: what it tells slurmstepd, and which processes it binds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from builder import Machine, on_nodes
from numa_align.cpulist import format_cpulist
from numa_align.hooks.task_prolog import is_batch, later_steps, speak
from numa_align.placement.claim import Spec
from numa_align.placement.decide import ProcessRequest, decide
from numa_align.placement.own import Own

TOPOLOGY = Machine(packages=2, cores=2, gpus=on_nodes(0, 1)).topology()
BATCH = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1", "SLURM_TASKS_PER_NODE": "2"}


@pytest.fixture
def task() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_it_binds_the_task_and_not_itself_and_says_so(task: subprocess.Popen[bytes]) -> None:
    mine = os.sched_getaffinity(0)
    if len(mine) < 2:
        pytest.skip("needs two CPUs")
    environment = {"SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": "2"}
    environment["NUMA_ALIGN"] = "verbose"
    masks = {"SLURM_CPU_BIND_LIST": hex(sum(1 << cpu for cpu in mine)), "SLURM_PROCID": "1"}
    lines = list(speak({**environment, **masks, "SLURM_STEP_ID": "0"}, task.pid))
    assert os.sched_getaffinity(0) == mine
    bound = os.sched_getaffinity(task.pid)
    assert bound < mine
    assert f"export NUMA_ALIGN_CPUS={','.join(map(str, sorted(bound)))}" in lines
    assert "export NUMA_ALIGN_STATE=aligned" in lines and "unset NUMA_ALIGN_MAP" in lines
    assert any(line.startswith("print numa-align: task 1: aligned") for line in lines)
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize(
    ("local", "words", "said"), [("0", "", 1), ("1", "", 0), ("1", "verbose", 1), ("", "", 1)]
)
def test_an_aligned_node_is_one_line(
    task: subprocess.Popen[bytes], local: str, words: str, said: int
) -> None:
    environment = {"SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_STEP_ID": "0"}
    environment |= {"SLURM_LOCALID": local} if local else {}
    environment["NUMA_ALIGN"] = words
    lines = [line for line in speak(environment, task.pid) if line.startswith("print ")]
    assert len(lines) == said
    assert ("memory policy of another process cannot be set" in "".join(lines)) == (local != "1")


def test_a_task_that_is_not_aligned_says_so_wherever_it_is(task: subprocess.Popen[bytes]) -> None:
    task.kill()
    task.wait()
    environment = {"SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_STEP_ID": "0"}
    (line,) = [line for line in speak(environment, task.pid) if line.startswith("print ")]
    assert "unaligned" in line and "No such process" in line


def test_off_and_an_aligned_task_are_left_alone() -> None:
    own = format_cpulist(os.sched_getaffinity(0))
    nobody = 4194999
    assert list(speak({"NUMA_ALIGN": "off"}, nobody)) == []
    assert list(speak({"NUMA_ALIGN_STATE": "aligned", "NUMA_ALIGN_CPUS": own}, nobody)) == []


def test_a_task_that_is_gone_is_said_and_is_no_error(task: subprocess.Popen[bytes]) -> None:
    task.kill()
    task.wait()
    lines = list(speak({"SLURM_STEP_ID": "0"}, task.pid))
    assert "export NUMA_ALIGN_STATE=unaligned" in lines
    assert any("No such process" in line for line in lines)
    assert not any("aligned gpus" in line and "unaligned" not in line for line in lines)


def later(spec: Spec, **more: str) -> list[str]:
    own = Own((0, 1, 2, 3), (0, 1, 2, 3), (0, 1))
    decision = decide(TOPOLOGY, own, BATCH, ProcessRequest(spec), lambda _: True)
    return list(later_steps(TOPOLOGY, decision, {**BATCH, **more}, spec, own))


def test_a_batch_script_hands_the_binding_to_its_sruns() -> None:
    assert later(Spec(on=True)) == [
        "export SLURM_CPU_BIND=mask_cpu:0x3,0xc",
        "export SLURM_MEM_BIND=prefer,mask_mem:0x1,0x2",
    ]
    assert later(Spec(on=True, mem="bind"))[1] == "export SLURM_MEM_BIND=mask_mem:0x1,0x2"
    assert len(later(Spec(on=True, mem="none"))) == 1


def test_a_preference_for_several_nodes_is_not_made_a_hard_binding() -> None:
    assert later(Spec(on=True), SLURM_TASKS_PER_NODE="1") == ["export SLURM_CPU_BIND=mask_cpu:0xf"]


def test_masks_are_exported_neither_to_other_nodes_nor_over_the_users() -> None:
    assert later(Spec(on=True), SLURM_JOB_NUM_NODES="2") == []
    assert later(Spec(on=True), SLURM_CPU_BIND="none") == []


def test_the_batch_script_is_told_from_a_step() -> None:
    assert is_batch(BATCH) and not is_batch({**BATCH, "SLURM_STEP_ID": "0"})


def test_whatever_is_wrong_the_status_is_0_and_the_user_reads_a_line() -> None:
    environment = {**os.environ, "NUMA_ALIGN_TASK": "4194999", "SLURM_STEP_TASKS_PER_NODE": "9999999"}
    program = "from numa_align.hooks import task_prolog; task_prolog.read_here = None; task_prolog.main()"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout.startswith("print numa-align: ") and result.stderr == ""
