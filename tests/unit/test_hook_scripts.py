"""Prolog, epilog and task prolog end with 0 in time, whatever the kernel refuses them.

The scripts run as slurmd runs them: as programs, with a pipe. strace makes system calls fail.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

BIN = Path(__file__).resolve().parents[2] / "prolog/bin"
SCRIPTS = ("prolog", "epilog", "task-prolog")

#: The limit of the scripts, and what a busy host adds.
LIMIT = 11 + 4

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def installed(folder: Path, name: str, program: str) -> Path:
    """The script, with a Python program of the test's behind it."""
    script = folder / f"numa-align-{name}"
    text = (BIN / f"numa-align-{name}.in").read_text(encoding="utf-8")
    script.write_text(text.replace("@PYTHON@", sys.executable).replace("@LIBDIR@", str(folder)))
    script.chmod(0o755)
    (folder / f"{name.replace('-', '_')}.py").write_text(program)
    return script


def run(*command: str | Path) -> tuple[int, str, float]:
    """Status, output and seconds until the last writer has closed the pipe, as slurmd waits for it."""
    begin = time.monotonic()
    environment = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7"}
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, time.monotonic() - begin


@pytest.mark.parametrize("name", SCRIPTS)
@needs_strace
@pytest.mark.parametrize(
    "calls",
    [
        "clone,clone3,fork,vfork:error=EAGAIN",
        "clone,clone3,fork,vfork:error=ENOMEM:when=2+",
        "openat:error=EMFILE:when=4+",
        "write:error=ENOSPC",
        "rename,renameat,renameat2:error=EROFS",
        "mmap:error=ENOMEM:when=20+",
        "brk:error=ENOMEM:when=6+",
    ],
)
def test_a_script_that_the_kernel_refuses_something_ends_with_0(
    name: str, calls: str, tmp_path: Path
) -> None:
    script = installed(tmp_path, name, "open('/dev/null').close(); print('export A=1')\n")
    trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={calls}"]
    status, _, seconds = run(*trace, script)
    assert status == 0
    assert seconds < LIMIT


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_python_that_survives_its_end_holds_nobody_up(name: str, tmp_path: Path) -> None:
    """As one in state D, which SIGKILL does not end, would hold slurmd's end of the pipe."""
    program = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    time.sleep(30)\n"
        "    os._exit(0)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    status, _, seconds = run(installed(tmp_path, name, program))
    assert status == 0
    assert seconds < 5


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_python_that_hangs_is_given_up_in_time(name: str, tmp_path: Path) -> None:
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(100)\n"
    status, _, seconds = run(installed(tmp_path, name, program))
    assert status == 0
    assert seconds < LIMIT


def test_the_task_prologs_words_reach_slurmstepd(tmp_path: Path) -> None:
    script = installed(tmp_path, "task-prolog", "print('export A=1')\n")
    assert run(script)[:2] == (0, "export A=1\n")


def test_a_log_that_nobody_reads_is_given_up_at_once(tmp_path: Path) -> None:
    """In a mount namespace of its own, where /dev/log is a socket with a full queue."""
    program = (
        "import sys, time; from numa_align.hooks.prolog import _log; begin = time.monotonic(); "
        "[_log('x' * 1000) for _ in range(5)]; sys.exit(time.monotonic() - begin > 1)"
    )
    address = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(str(address))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
            writer.setblocking(False)
            writer.connect(str(address))
            with pytest.raises(BlockingIOError):
                while True:
                    writer.send(b"x" * 1000)
        inside = f"touch /dev/log; mount --bind {address} /dev/log && exec {sys.executable} -c {program!r}"
        made = not Path("/dev/log").exists()
        try:
            done = subprocess.run(
                ["unshare", "--mount", "sh", "-c", inside],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        finally:
            if made:
                Path("/dev/log").unlink(missing_ok=True)
    if "Operation not permitted" in done.stderr:
        pytest.skip("needs root for a mount namespace")
    assert done.returncode == 0, done.stderr
