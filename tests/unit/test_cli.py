"""The command as a whole: whatever happens, a line for people and a status, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Optional

import pytest
from builder import Machine, on_nodes
from builder.own import OWN
from numa_align.cli import COMMANDS

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
        (["benhc"], "no such command 'benhc', did you mean 'bench'?; see `numa-align --help`"),
        (["plna", "-n1"], "no such command 'plna', did you mean 'plan'?"),
        (["topo", "--jsno"], "--json"),
        (["plan", "-n1", "--numa-align", "strcit"], 'did you mean "strict"?'),
        (["run", "--gpus", "", "true"], "run: --gpus: the list is empty; without --gpus it takes the GPUs"),
        (["run", "--gpus", " , ", "true"], "run: --gpus: the list is empty"),
        (["topo", "--nosuch"], "no such option '--nosuch'"),
        (["show", "--gpus", "0"], "numactl, taskset, docker, podman, compose,"),
        (["show", "--gpus", "0", "--as", "rkt"], "'rkt' is not one of 'numactl',"),
        (["run"], "there is no COMMAND to run; see `numa-align run --help`"),
        (["job", "1", "--all-nodes", "--svg", "x"], "--all-nodes goes with neither --watch nor --svg"),
        (["job", "1", "--watch", "--json"], "--watch goes with neither --svg nor --json"),
        (
            ["job"],
            "say either a JOBID or --pid PID; inside a job neither is needed; see `numa-align job --help`",
        ),
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


#: Each command with words that make it print, and how much of its output is the same each time.
SPEAKING = {
    "none": [],
    "help": ["--help"],
    "topo": ["topo"],
    "topo-json": ["topo", "--json"],
    "plan": ["plan", "-n1", "--no-gpus"],
    "run": ["run", "--numa-align=help"],
    "run-a-command": ["run", "--numa-align=verbose", "echo", "said"],
    "show": ["show", "--help"],
    "gpus": ["gpus", "1"],
    "check": ["check"],
    "check-json": ["check", "--json"],
    "job": ["job", "--pid", "1"],
    "audit": ["audit"],
    "report": ["report", "--help"],
    "bench": ["bench", "--help"],
    "conf": ["conf", "gres", "--slurm-version", "24.11", "--root", "MACHINE", "--node", "n1"],
    "doctor": ["doctor", "--root", "MACHINE", "--node-name", "n1"],
    "wrong": ["topo", "--nosuch"],
}


def test_every_command_is_tested_with_output_that_cannot_be_written() -> None:
    assert set(COMMANDS) <= {words[0] for words in SPEAKING.values() if words}


@pytest.mark.parametrize("name", SPEAKING)
def test_unwritable_output_is_status_2_and_unwritable_errors_are_lost(name: str, tmp_path: Path) -> None:
    machine = str(Machine(gpus=on_nodes(0)).write(tmp_path))
    words = [machine if word == "MACHINE" else word for word in SPEAKING[name]]

    def run(streams: str) -> tuple[int, str, str]:
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {streams}', "sh", *NUMA_ALIGN, *words],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    status, out, err = run("")
    for streams in ("2>&-", "2>/dev/full"):
        found = run(streams)
        assert (found[0], bool(found[1])) == (status, bool(out)), streams
    for streams, why in ((">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")):
        found = run(streams)
        if name == "run-a-command":  # what is said of it is the command's own
            assert found[0] == 1 and "echo: write error" in found[2]
        elif out:
            assert found[0] == 2, streams
            assert f"numa-align: cannot write the output: {why}; is there room" in found[2].splitlines()[-1]
            assert len(found[2].splitlines()) <= 1 + len(err.splitlines())
        else:
            assert found == (status, "", err)
    assert run(">&- 2>&- <&-")[0] == run(">/dev/full 2>&1")[0] == (1 if name == "run-a-command" else 2)


@pytest.mark.parametrize("name", ["help", "topo-json", "check", "doctor"])
def test_a_reader_that_goes_away_is_no_noise_and_no_verdict(name: str, tmp_path: Path) -> None:
    machine = str(Machine(gpus=on_nodes(0)).write(tmp_path))
    words = [machine if word == "MACHINE" else word for word in SPEAKING[name]]
    with subprocess.Popen([*NUMA_ALIGN, *words], stdout=PIPE, stderr=PIPE, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141, "that of a program that SIGPIPE ends; 1 would be a verdict"


def test_what_a_stream_s_encoding_lacks_is_written_as_an_escape() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(
        [*NUMA_ALIGN, "topo", "--r\xf6\xf6t"], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2 and "no such option '--r\\xf6\\xf6t'" in result.stderr


#: Machines with varied output: several GPUs per node, memory without CPUs, GPU memory, no locality.
ELOQUENT = ("nps4-3-1-7-5", "memory-only-nodes", "four-superchips", "virtual-without-locality")
OVER_MACHINES = (
    ["topo"],
    ["topo", "--json"],
    ["plan", "-n4"],
    ["plan", "-n4", "--json"],
    ["show", "--gpus", "0", "--as", "docker"],
    ["show", "--gpus", "0", "--as", "kubernetes"],
    ["gpus", "2"],
)


@pytest.mark.parametrize("name", [*ELOQUENT, None], ids=str)
def test_a_stream_of_ascii_gets_ascii_and_never_a_traceback(name: Optional[str], tmp_path: Path) -> None:
    """Over machines, and every command of this one."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "100"}
    root = str(OWN[name or ELOQUENT[0]].write(tmp_path))
    if name is None:
        lines = [
            ["numa-align-\xf6"],
            *([word if word != "MACHINE" else root for word in one] for one in SPEAKING.values()),
        ]
    else:
        lines = [[*words, "--root", root] for words in OVER_MACHINES]
    for words in lines:
        done = subprocess.run(
            [*NUMA_ALIGN, *words], env=environment, capture_output=True, check=False, timeout=60
        )
        assert b"Traceback" not in done.stderr and done.returncode in (0, 1, 2), (words, done.stderr)
        assert (done.stdout + done.stderr).isascii(), words
        assert b"\\x" not in done.stdout and b"\\u" not in done.stdout, words


def test_inside_a_job_the_job_is_this_one() -> None:
    environment = {**os.environ, "SLURM_JOB_ID": "4194301"}
    done = subprocess.run([*NUMA_ALIGN, "job"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "numa-align: job 4194301 has no process on this node" in done.stderr


def test_no_file_gets_the_number_of_a_stream_that_is_closed(tmp_path: Path) -> None:
    """The command does not find a closed stream open either."""
    picture = tmp_path / "job.svg"
    words = ["job", "--pid", str(os.getpid()), "--svg", str(picture)]
    subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *NUMA_ALIGN, *words], check=False, timeout=60)
    assert not picture.exists() or picture.read_text().startswith("<svg")
    probe = "import os; print(sorted(n for n in (0, 1) if os.path.exists(f'/proc/self/fd/{n}')))"
    script = f'{sys.executable} -c "{probe}" >{tmp_path}/found'
    command = ["sh", "-c", 'exec "$@" <&-', "sh", *NUMA_ALIGN, "run", "sh", "-c", script]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    assert (tmp_path / "found").read_text() == "[1]\n"


def test_an_interrupt_ends_it_quietly_with_130(tmp_path: Path) -> None:
    Machine().write(tmp_path)
    file = tmp_path / "sys/devices/system/cpu/online"
    file.unlink()
    os.mkfifo(file)  # opening it for writing returns once the command has opened it for reading
    # What a shell starts in the background ignores the signal, and so do we where we inherit that.
    words = ["env", "--default-signal=INT", *NUMA_ALIGN, "topo", "--root", str(tmp_path)]
    with subprocess.Popen(words, stdout=PIPE, stderr=PIPE) as process, file.open("w"):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (130, b"", b"")


def test_confs_json_is_its_text_and_for_which_slurm(tmp_path: Path) -> None:
    words = [
        "conf",
        "gres",
        "--slurm-version",
        "24.11",
        "--root",
        str(Machine().write(tmp_path)),
        "--node",
        "n1",
    ]
    data = json.loads(numa_align(*words, "--json").stdout)
    assert data.pop("text") == numa_align(*words).stdout != ""
    assert data == {"version": 1, "part": "gres", "slurm_version": "24.11", "diff": None}


def test_a_folder_that_is_no_machine_is_said_by_all_that_take_one(tmp_path: Path) -> None:
    for words in (["topo"], ["plan", "-n1"], ["gpus", "1"], ["show", "--gpus", "0", "--as", "docker"]):
        for place, says in (
            (tmp_path, "no CPU is described below it"),
            (tmp_path / "x", "is not a directory"),
        ):
            result = numa_align(*words, "--root", str(place))
            assert result.returncode == 2 and says in result.stderr, words
            assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["run", "true"], 0), (["run", "--numa-align=strict", "true"], 2), (["plan", "-n1"], 2)],
)
def test_without_the_compiled_claim_a_line_says_how_to_build_it(arguments: list[str], status: int) -> None:
    program = (
        "import sys; sys.modules['numa_align._claim'] = None\n"
        f"sys.argv[1:] = {arguments}\n"
        "from numa_align.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "NUMA_ALIGN": ""},
    )  # fmt: skip
    assert result.returncode == status
    assert "make claim" in result.stderr and len(result.stderr.splitlines()) == 1
