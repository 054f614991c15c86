"""Tasks of a step on a node find each other in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from numa_align.errors import RequestError
from numa_align.process.step_total import Meeting, Total, count, leave, meeting_of

STEP = {
    "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_LOCALID": "1", "SLURM_PROCID": "3", "SLURM_NTASKS": "4",
    "SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}  # fmt: skip


def test_tasks_of_a_node_meet_in_memory_and_those_of_a_step_where_it_is_said(tmp_path: Path) -> None:
    name = f"numa-align-check.{os.getuid()}.7.0"
    assert meeting_of(STEP) == Meeting(Path("/dev/shm") / name, 1, 2)
    assert meeting_of(STEP, tmp_path) == Meeting(tmp_path / name, 3, 4)
    assert meeting_of({**STEP, "SLURM_STEP_TASKS_PER_NODE": "1(x4)"}) is None
    assert meeting_of({}) is None
    assert meeting_of({**STEP, "SLURM_JOB_ID": "../x"}) is None


def test_the_words_are_added_up_and_nothing_is_left(tmp_path: Path) -> None:
    states = ["aligned", "partial", "aligned", "unaligned"]
    for rank, state in enumerate(states):
        leave(Meeting(tmp_path / "m", rank, 4), state)
    total = count(Meeting(tmp_path / "m", 0, 4))
    assert str(total) == "2 of 4 tasks aligned, 1 partial, 1 unaligned"
    assert not (tmp_path / "m").exists()


def test_a_task_that_does_not_come_is_said(tmp_path: Path) -> None:
    leave(Meeting(tmp_path / "m", 0, 2), "aligned")
    assert (
        str(count(Meeting(tmp_path / "m", 0, 2), patience=0.1)) == "1 of 2 tasks aligned, 1 without an answer"
    )
    assert str(Total(1, {"aligned": 1})) == "1 of 1 tasks aligned"


def test_a_folder_of_somebody_elses_making_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    for name in ("link", "open"):
        with pytest.raises(RequestError, match="not this user's own"):
            leave(Meeting(tmp_path / name, 0, 1), "aligned")
    assert not list((tmp_path / "target").iterdir())
