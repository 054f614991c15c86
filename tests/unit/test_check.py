"""`numa-align check` of processes in every condition: one line, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numa_align.errors import HiddenError, KernelError
from numa_align.process.state import read_process


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "numa_align", "check", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_judges_itself_and_the_json_has_the_documented_fields() -> None:
    data = json.loads(check("--json").stdout)
    assert set(data) == {
        "version", "task", "node", "pid", "gpus", "cpus", "cpu_nodes", "policy", "policy_nodes",
        "bytes_by_node", "near_percent", "state", "reason", "undone",
    }  # fmt: skip


def test_a_process_that_is_not_there_is_a_line_and_status_2() -> None:
    result = check("--pid", "4194999")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "numa-align: there is no process 4194999\n"


def test_a_zombie_is_a_line_and_status_2() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    try:
        while "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
            time.sleep(0.01)
        with pytest.raises(KernelError, match="is a zombie"):
            read_process(child)
        result = check("--pid", str(child))
        assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    finally:
        os.waitpid(child, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_process_of_another_user_is_said_to_be_hidden() -> None:
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            read_process(1)
        except HiddenError as error:
            os._exit(42 if "as root" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


def test_a_kernel_without_numa_has_no_maps_and_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "proc/7"
    folder.mkdir(parents=True)
    (folder / "status").write_text("State:\tS\nCpus_allowed_list:\t0-3\nMems_allowed_list:\t0\n")
    state = read_process(7, tmp_path)
    assert (state.cpus, state.policy.mode, dict(state.bytes_by_node)) == ((0, 1, 2, 3), "default", {})
