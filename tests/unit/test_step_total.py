"""Tasks of a step on a node find each other in a folder, as often as they count."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from numa_align.errors import RequestError
from numa_align.names import State
from numa_align.process import step_total
from numa_align.process.step_total import FORGOTTEN, Meeting, Total, count, leave, meeting_of, sweep

STEP = {
    "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_LOCALID": "1", "SLURM_PROCID": "3", "SLURM_NTASKS": "4",
    "SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}  # fmt: skip


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_tasks_meet_in_memory_on_a_node_or_in_the_given_folder(tmp_path: Path) -> None:
    name = f"numa-align-check.{os.getuid()}.7.0"
    assert meeting_of(STEP) == Meeting(Path("/dev/shm") / name, 1, 2)
    assert meeting_of(STEP, tmp_path) == Meeting(tmp_path / name, 3, 4, nodes=True)
    assert meeting_of({**STEP, "SLURM_STEP_TASKS_PER_NODE": "1(x4)"}) is None
    assert meeting_of({}) is None
    assert meeting_of({**STEP, "SLURM_JOB_ID": "../x"}) is None


def test_a_job_that_was_queued_again_meets_elsewhere() -> None:
    again = meeting_of({**STEP, "SLURM_RESTART_COUNT": "2"})
    assert again and again.folder.name == f"numa-align-check.{os.getuid()}.7.0.2"


def test_the_words_are_added_up_and_those_of_the_round_before_go(tmp_path: Path) -> None:
    states: list[State] = ["aligned", "partial", "aligned", "unaligned"]
    numbers = {leave(Meeting(tmp_path / "m", rank, 4), state) for rank, state in enumerate(states)}
    assert numbers == {1}
    assert str(count(Meeting(tmp_path / "m", 0, 4), 1)) == "2 of 4 tasks aligned, 1 partial, 1 unaligned"
    assert names(tmp_path / "m") == {"closed", *(f"1.{rank}" for rank in range(4))}
    for rank in range(4):
        leave(Meeting(tmp_path / "m", rank, 4), "aligned")
    count(Meeting(tmp_path / "m", 0, 4), 2)
    assert names(tmp_path / "m") == {"closed", *(f"2.{rank}" for rank in range(4))}


def test_a_task_that_asked_before_a_round_ended_speaks_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "m"
    leave(Meeting(folder, 0, 2), "aligned")
    leave(Meeting(folder, 1, 2), "aligned")
    asked = step_total._closed

    def late(descriptor: int) -> int:
        number = asked(descriptor)
        monkeypatch.setattr(step_total, "_closed", asked)
        count(Meeting(folder, 0, 2), 1)
        return number

    monkeypatch.setattr(step_total, "_closed", late)
    assert leave(Meeting(folder, 1, 2), "partial") == 2


def test_a_word_of_the_next_round_is_not_counted_in_this_one(tmp_path: Path) -> None:
    """Task 1 ends its first check and writes its second state before task 0 has counted."""
    first, other = Meeting(tmp_path / "m", 0, 2), Meeting(tmp_path / "m", 1, 2)
    assert leave(other, "unaligned") == 1
    assert leave(other, "aligned") == 2
    assert leave(first, "aligned") == 1
    assert str(count(first, 1)) == "1 of 2 tasks aligned, 1 unaligned"
    assert leave(first, "aligned") == 2
    assert str(count(first, 2)) == "2 of 2 tasks aligned"


def test_many_rounds_of_tasks_that_do_not_wait_are_right(tmp_path: Path) -> None:
    rounds, tasks = 20, 8

    def work(rank: int) -> None:
        for number in range(rounds):
            leave(Meeting(tmp_path / "m", rank, tasks), "aligned" if number % 2 else "partial")

    others = [threading.Thread(target=work, args=(rank,)) for rank in range(1, tasks)]
    for thread in others:
        thread.start()
    first = Meeting(tmp_path / "m", 0, tasks)
    totals = [
        str(count(first, leave(first, "aligned" if number % 2 else "partial"), patience=20))
        for number in range(rounds)
    ]
    for thread in others:
        thread.join()
    assert totals == ["0 of 8 tasks aligned, 8 partial", "8 of 8 tasks aligned"] * (rounds // 2)


def test_a_task_that_comes_when_its_round_is_over_is_in_the_next(tmp_path: Path) -> None:
    first, late = Meeting(tmp_path / "m", 0, 2), Meeting(tmp_path / "m", 1, 2)
    assert str(count(first, leave(first, "aligned"), patience=0.1)).endswith("1 without an answer")
    assert leave(late, "aligned") == 2
    assert str(count(first, leave(first, "aligned"))) == "2 of 2 tasks aligned"


def test_a_word_that_is_not_written_to_its_end_is_waited_for(tmp_path: Path) -> None:
    first = Meeting(tmp_path / "m", 0, 2)
    leave(first, "aligned")
    word = tmp_path / "m/1.1"
    word.touch()
    timer = threading.Timer(0.2, word.write_text, ["partial"])
    timer.start()
    assert str(count(first, 1)) == "1 of 2 tasks aligned, 1 partial"


def test_a_task_that_does_not_come_is_said(tmp_path: Path) -> None:
    first = Meeting(tmp_path / "m", 0, 2)
    assert str(count(first, leave(first, "aligned"), 0.1)) == "1 of 2 tasks aligned, 1 without an answer"
    assert str(Total(1, {"aligned": 1})) == "1 of 1 tasks aligned"


def test_a_folder_of_somebody_elses_making_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    (tmp_path / "file").touch()
    for name in ("link", "open", "file"):
        with pytest.raises(RequestError, match=r"not this user's own.*not counted"):
            leave(Meeting(tmp_path / name, 0, 1), "aligned")
    assert not list((tmp_path / "target").iterdir())


def test_a_place_that_takes_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="No such file or directory; use --gather to name another folder"):
        leave(Meeting(tmp_path / "no/such", 0, 1), "aligned")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What steps 7.0 and 7.1, which run here, 8.0, which has ended, and others have left."""
    monkeypatch.setattr(step_total, "steps_here", lambda: frozenset({(7, "0"), (7, "1")}))
    mine = f"numa-align-check.{os.getuid()}"
    for name in (
        f"{mine}.7.0",
        f"{mine}.7.1",
        f"{mine}.8.0",
        f"{mine}.8.0.1",
        "numa-align-check.12345.8.0",
        "x",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "closed").touch()
    (tmp_path / f"{mine}.9.0").symlink_to(tmp_path / "x")
    return tmp_path


def gone(folders: Path, before: set[str]) -> set[str]:
    return before - names(folders)


def test_folders_of_steps_that_have_ended_are_swept(folders: Path) -> None:
    before, mine = names(folders), f"numa-align-check.{os.getuid()}"
    time.sleep(0.01)
    sweep(Meeting(folders / f"{mine}.7.0", 0, 2))
    assert gone(folders, before) == {f"{mine}.8.0", f"{mine}.8.0.1"}
    assert (folders / "x/closed").exists()


@pytest.mark.parametrize(("step", "nodes"), [("7.0", True), ("10.0", False)])
def test_a_folder_of_an_invisible_step_is_removed_after_a_quiet_day(
    folders: Path, step: str, nodes: bool
) -> None:
    """Those of other nodes; and where /proc does not even show this step's slurmstepd."""
    before, mine = names(folders), f"numa-align-check.{os.getuid()}"
    sweep(Meeting(folders / f"{mine}.{step}", 0, 2, nodes))
    assert not gone(folders, before)
    old = time.time() - FORGOTTEN - 1
    os.utime(folders / f"{mine}.8.0", (old, old))
    sweep(Meeting(folders / f"{mine}.{step}", 0, 2, nodes))
    assert gone(folders, before) == {f"{mine}.8.0"}
