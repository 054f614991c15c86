"""Which processes are below one, judged by ps."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from numa_align.errors import RequestError
from numa_align.process.descendants import Birth, descendants, with_children


def _below(pid: int) -> set[int]:
    pairs = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    parent = {int(line.split()[0]): int(line.split()[1]) for line in pairs.stdout.splitlines()}
    found = {pid}
    while more := {one for one, above in parent.items() if above in found} - found:
        found |= more
    return found


def test_children_of_children_are_found_as_ps_finds_them() -> None:
    words = ["sh", "-c", "sh -c 'sleep 60 & sleep 60' & sleep 60; :"]
    with subprocess.Popen(words, start_new_session=True) as process:
        while len(found := with_children(process.pid)) < 5:
            time.sleep(0.01)
        assert found[0] == process.pid and list(found[1:]) == sorted(found[1:])
        assert set(found) == _below(process.pid)
        os.killpg(process.pid, signal.SIGKILL)


def test_who_started_before_the_process_is_not_from_it() -> None:
    births = {10: Birth(1, 50), 11: Birth(10, 50), 12: Birth(10, 49), 13: Birth(12, 60), 14: Birth(11, 51)}
    assert descendants(10, births) == {11, 14}


def test_a_loop_of_numbers_given_again_ends() -> None:
    births = {10: Birth(12, 5), 11: Birth(10, 6), 12: Birth(11, 7)}
    assert descendants(10, births) == {11, 12}


def _stat(proc: Path, pid: int, parent: int, name: str) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} {'0 ' * 17}{pid} 0 0\n")


def test_a_name_with_parentheses_hides_no_parent(tmp_path: Path) -> None:
    _stat(tmp_path, 10, 1, "a")
    _stat(tmp_path, 11, 10, ") S 1 (")
    (tmp_path / "12").mkdir()  # has ended
    (tmp_path / "self").mkdir()
    assert with_children(10, str(tmp_path)) == (10, 11)


def test_what_is_not_understood_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "10").mkdir()
    (tmp_path / "10/stat").write_text("10 (x)\n")
    with pytest.raises(RequestError, match="process 10 cannot be inspected"):
        with_children(10, str(tmp_path))
