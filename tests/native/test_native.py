"""The native cluster is real Slurm, and leaves no trace."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from machine import CommandError, CommandTimeoutError

from native import Native, why_not

pytestmark = pytest.mark.native

TESTS = Path(__file__).resolve().parents[1]


def test_a_step_runs_with_the_gpus_asked_for(native: Native) -> None:
    result = native.run("srun -n2 -O --gpus=2 printenv SLURM_STEP_GPUS", user="user", check=True)
    assert result.stdout.split() == ["0,1", "0,1"]
    # Debian's is "slurm-wlm", a site's own "slurm".
    said = native.run("srun --version", check=True).stdout
    assert said.startswith("slurm") and said.split()[1].startswith(f"{native.slurm}.")


def test_failed_and_late_commands_raise_with_the_daemons_logs(native: Native) -> None:
    with pytest.raises(CommandError, match=r"status 3[\s\S]*slurmctld\.log"):
        native.run("exit 3", check=True)
    with pytest.raises(CommandTimeoutError, match="not done after 1 s"):
        native.run("sleep 60", timeout=1)


def _marks_on_the_host() -> list[str]:
    """What an unconfined cluster would leave behind; its processes are searched one by one."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    mounts = [line for line in lines if line.split()[1].startswith("/mnt")]
    return [*mounts, *(str(path) for path in Path("/dev").glob("nvidia*")), *map(str, Path("/mnt").iterdir())]


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
@pytest.mark.parametrize("how", ["exit", "SIGKILL"])
def test_nothing_is_left_on_the_host_however_it_ends(how: str) -> None:
    program = (
        "from native import Native\n"
        "with Native() as native:\n"
        "    native.run('srun sleep 1000 >/dev/null 2>&1 & until pgrep -x sleep; do :; done', check=True)\n"
        "    print('up', flush=True)\n"
        "    input()\n"
    )
    before = _marks_on_the_host()
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=TESTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdin is not None and child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    processes = psutil.Process(child.pid).children(recursive=True)
    assert {"munged", "slurmctld", "slurmd", "srun", "sleep"} <= {process.name() for process in processes}
    if how == "exit":
        child.stdin.write(b"\n")
        child.stdin.close()
    else:
        child.send_signal(signal.SIGKILL)
    child.wait(30)
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    assert _marks_on_the_host() == before
