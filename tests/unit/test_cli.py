"""The command as a whole: whatever happens, a line for people and a status, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
from builder import Machine

NUMA_ALIGN = [sys.executable, "-m", "numa_align"]


def numa_align(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NUMA_ALIGN, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_without_a_command_it_says_which_there_are() -> None:
    result = numa_align()
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == numa_align("--help").stdout and "doctor" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nosuch"], "no such command 'nosuch'; see `numa-align --help`"),
        (["topo", "--nosuch"], "no such option '--nosuch'"),
        (["show", "--gpus", "0"], "numactl, taskset, docker, podman, kubernetes, systemd, env; see"),
        (["show", "--gpus", "0", "--as", "rkt"], "'rkt' is not one of 'numactl',"),
        (["run"], "there is no COMMAND to run; see `numa-align run --help`"),
        (["job"], "say either a JOBID or --pid PID; see `numa-align job --help`"),
        (["gpus", "x"], "'COUNT'"),
        (["bench", "--plot", "no-such-folder/x.png"], "cannot draw no-such-folder/x.png"),
        (["bench", "--plot", "x.nosuch"], "its name ends in none of"),
    ],
)
def test_wrong_usage_is_one_line_that_says_where_to_read_on(arguments: list[str], says: str) -> None:
    result = numa_align(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("numa-align: ") and says in line


@pytest.mark.parametrize(
    "arguments", [["--help"], ["topo"], ["topo", "--json"], ["check", "--json"], ["run", "--help"]]
)
def test_output_that_cannot_be_written_is_a_line(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*NUMA_ALIGN, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert result.returncode == 2
    assert result.stderr.startswith("numa-align: cannot write the output: No space left on device")
    assert len(result.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_noise() -> None:
    with subprocess.Popen(
        [*NUMA_ALIGN, "topo", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode != 0


def test_an_interrupt_ends_it_quietly_with_130(tmp_path: Path) -> None:
    Machine().write(tmp_path)
    file = tmp_path / "sys/devices/system/cpu/online"
    file.unlink()
    os.mkfifo(file)  # opening it for writing returns once the command has opened it for reading
    words = [*NUMA_ALIGN, "topo", "--root", str(tmp_path)]
    with subprocess.Popen(words, stdout=PIPE, stderr=PIPE) as process, file.open("w"):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (130, b"", b"")
