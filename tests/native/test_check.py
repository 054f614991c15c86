"""`numa-align check` in steps of real Slurm: repeatedly, and whatever obstructs it."""

from __future__ import annotations

import re

import pytest
from e2e.steps import allocated

from native import Native

pytestmark = pytest.mark.native

LEFT = "ls -d /dev/shm/numa-align-check.* 2>/dev/null | wc -l"


def totals(text: str) -> list[str]:
    return re.findall(r"^total on node1: (.*)$", text, re.MULTILINE)


def test_a_step_counts_as_often_as_it_likes(native: Native) -> None:
    """The tasks do not wait for each other: the last is a check ahead of the first, which counts late."""
    script = "numa-align check; [ $SLURM_LOCALID = 0 ] && sleep 1; numa-align check; numa-align check; true"
    result = native.run(
        ["srun", "-n2", "-O", "--gpus=1", "sh", "-c", script], user="user", timeout=50, check=True
    )
    assert len(totals(result.stdout)) == 3, result
    assert all(re.match(r"\d of 2 tasks aligned", total) for total in totals(result.stdout))
    assert "without an answer" not in result.stdout + result.stderr
    assert len(re.findall(r"^task [01]: gpu", result.stdout, re.MULTILINE)) == 6


def test_what_ended_steps_left_goes_and_what_a_running_one_has_stays(native: Native) -> None:
    native.run("rm -rf /dev/shm/numa-align-check.*", check=True)
    with allocated(native, "-n4 -O --gpus=1") as job:
        srun = f"srun --jobid={job} --overlap -n2 -O"
        check = "numa-align check >/dev/null; true"
        native.run(f"{srun} sh -c '{check}'", user="user", check=True)
        assert native.run(LEFT).stdout.strip() == "1"
        running = native.start(["sh", "-c", f"exec {srun} sh -c '{check}; sleep 60'"], user="user")
        native.run("until pgrep -fx 'sleep 60'; do sleep 0.1; done", check=True, timeout=20)
        native.run(f"{srun} sh -c '{check}'", user="user", check=True)
        left = native.run("ls -d /dev/shm/numa-align-check.*").stdout
        native.run("pkill -fx 'sleep 60'", check=True)
        running.communicate(timeout=20)
    assert len(left.split()) == 2, "that of the step that runs, and of the one that counted last"
    assert f".{job}.0\n" not in left


def test_another_users_folder_prevents_the_total_and_is_reported(native: Native) -> None:
    with allocated(native, "-n2 -O --gpus=1") as job:
        folder = f"/dev/shm/numa-align-check.1000.{job}.0"
        native.run(f"mkdir {folder} && chmod 777 {folder}", user="mallory", check=True)
        step = f"srun --jobid={job} --overlap -n2 -O numa-align check"
        result = native.run(step, user="user", timeout=30)
        native.run(f"rm -r {folder}", check=True)
    assert not totals(result.stdout) and "Traceback" not in result.stderr
    assert len(re.findall(r"^task [01]: gpu", result.stdout, re.MULTILINE)) == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("numa-align")]
    assert folder in line and "another user created it first, so the tasks are not counted" in line
