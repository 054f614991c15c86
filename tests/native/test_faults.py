"""What breaks around the plugin: jobs start and finish, no node is drained, one clear line is logged."""

from __future__ import annotations

import contextlib
import io
import shutil
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from e2e.machines import ROOT
from e2e.steps import PROBE, Rank, allocated, ranks_of
from machine import RELEASES, Result
from machine.cache import Cache
from machine.image import image_for
from machine.progress import to_stderr
from machine.project import build_project

from native import Native
from native.native import WITHOUT_CGROUPS

from . import asking
from .asking import LIBRARY, assert_healthy, plugstack, said_by_plugin

pytestmark = pytest.mark.native

RUN = "/run/numa-align"
SYSLOG = "/var/log/native-syslog"

LISTENER = f"""
import socket
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind("/dev/log")
import os; os.chmod("/dev/log", 0o666)
with open({SYSLOG!r}, "ab", 0) as log:
    while True:
        log.write(listener.recv(65536).rstrip(b"\\\\n\\\\0") + b"\\\\n")
"""


@pytest.fixture(scope="module", autouse=True)
def syslog(native: Native) -> Iterator[None]:
    """A system log for what prolog and epilog say; there is no systemd inside."""
    program = LISTENER.replace("\\\\", "\\")
    listener = native.start(["python3", "-c", program])
    native.run("until [ -S /dev/log ]; do sleep 0.05; done", check=True, timeout=10)
    yield
    listener.kill()
    listener.wait()


def logged(native: Native) -> list[str]:
    text = native.run(f"cat {SYSLOG}; : > {SYSLOG}", check=True).stdout
    return [line for line in text.splitlines() if "numa-align" in line]


def submit(native: Native, options: str = "--numa-align", timeout: float = 60) -> tuple[Result, Rank]:
    """A job that starts, finishes and leaves the node idle."""
    logged(native)
    result = native.run(f"srun -n1 --gpus=1 {options} {PROBE}", user="user", check=True, timeout=timeout)
    (rank,) = ranks_of(result)
    assert_healthy(native)
    return result, rank


@contextlib.contextmanager
def replaced(native: Native, path: str, text: str | None, mode: int = 0o755) -> Iterator[None]:
    """A file with other content, or not there at all."""
    native.run(f"mv {path} {path}.kept", check=True)
    try:
        if text is not None:
            native.put({path: text}, mode=mode)
        yield
    finally:
        native.run(f"mv -f {path}.kept {path}", check=True)


def library_for(slurm: str) -> bytes:
    """The plugin as it is built for a Slurm version."""
    cache = Cache()
    payload = build_project(ROOT, image_for(slurm, cache, to_stderr), cache, to_stderr).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(payload)) as tar:
        member = tar.extractfile(next(m for m in tar if m.name.endswith("numa-align.so")))
        assert member is not None
        return member.read()


def test_a_plugin_of_another_slurm_is_refused_and_jobs_run(native: Native) -> None:
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed: there is no Slurm of another release to build for")
    other = next(version for version in RELEASES if version != native.slurm)
    native.put({"/opt/other.so": library_for(other)})
    with plugstack(native, "optional /opt/other.so on\n"):
        result, rank = submit(native, "")
    assert rank.mode == "default" and not rank.environment
    assert "numa_align" not in result.stderr or "ncompatible" in result.stderr


def test_a_missing_plugin_costs_no_job(native: Native) -> None:
    """As on a node where it is not installed while plugstack.conf names it."""
    with replaced(native, LIBRARY, None):
        _, rank = submit(native, "")
        refused = native.run("srun -n1 --numa-align true", user="user")
        # slurmd itself starts without it too.
        native.configure(native.config)
        submit(native, "")
    native.configure(native.config)
    assert rank.mode == "default" and not rank.environment
    assert refused.status != 0 and "unrecognized option '--numa-align'" in refused.stderr


def test_a_login_node_without_the_plugin_leaves_the_nodes_default(
    native: Native,
) -> None:
    """And the other way round: present on the node only. What the user cannot say, the site can."""
    native.put({"/opt/no-plugstack.conf": "", "/opt/login/slurm.conf": ""})
    native.run("sed '$aPlugStackConfig=/opt/no-plugstack.conf' /etc/slurm/slurm.conf > /opt/login/slurm.conf")
    native.run("cp /etc/slurm/gres.conf /etc/slurm/cgroup.conf /opt/login/", check=True)
    with asking.site(native, "on"):
        result = native.run(
            f"srun -n1 --gpus=1 {PROBE}", user="user", env={"SLURM_CONF": "/opt/login/slurm.conf"}, check=True
        )
    assert ranks_of(result)[0].environment["NUMA_ALIGN_STATE"] == "aligned"
    assert_healthy(native)


def test_a_restart_of_slurmd_affects_neither_job_nor_next_step(native: Native) -> None:
    with allocated(native, "-n1 --gpus=1") as job:
        step = native.start(
            ["srun", f"--jobid={job}", "--overlap", "--numa-align", "sh", "-c", f"sleep 4; {PROBE}"],
            user="user",
        )
        native.run("until pgrep -fx 'sleep 4'; do sleep 0.05; done", check=True, timeout=10)
        native.run(
            "pkill -x slurmd; while pgrep -x slurmd; do sleep 0.05; done; slurmd", check=True, timeout=20
        )
        output, _ = step.communicate(timeout=30)
        assert b'"NUMA_ALIGN_STATE": "aligned"' in output
        assert asking.ask(native, job, "--gpus=1 --numa-align").environment["NUMA_ALIGN_STATE"] == "aligned"
    assert native.run(f"ls {RUN}", check=True).stdout == ""


def test_a_hanging_prolog_is_ended_after_ten_seconds(native: Native) -> None:
    with replaced(native, "/usr/lib/numa-align/prolog.py", "import time; time.sleep(1000)\n"):
        begin = time.monotonic()
        result, rank = submit(native)
        taken = time.monotonic() - begin
    assert 9 < taken < 30
    assert rank.environment["NUMA_ALIGN_STATE"] == "unaligned"
    assert len(said_by_plugin(result).splitlines()) == 1 and "No such file" in result.stderr
    (line,) = logged(native)
    assert "prolog of job" in line and "10 s" in line


def test_a_prolog_that_ignores_the_limit_is_killed(native: Native) -> None:
    text = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)\n"
    with replaced(native, "/usr/lib/numa-align/prolog.py", text):
        _, rank = submit(native)
    assert rank.environment["NUMA_ALIGN_STATE"] == "unaligned"
    assert "10 s" in logged(native)[0]


def test_a_prolog_that_is_killed_costs_no_job(native: Native) -> None:
    text = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    with replaced(native, "/usr/lib/numa-align/prolog.py", text):
        result, rank = submit(native)
    assert rank.environment["NUMA_ALIGN_STATE"] == "unaligned"
    assert len(said_by_plugin(result).splitlines()) == 1
    (line,) = logged(native)
    assert "prolog of job" in line and "137" in line


def test_without_python_jobs_run_unaligned(native: Native) -> None:
    python = native.run("readlink -f /usr/bin/python3", check=True).stdout.strip()
    probe = f"{python}.kept {PROBE.partition(' ')[2]}"
    with replaced(native, python, None):
        native.run(f": > {SYSLOG}", check=True)
        result = native.run(f"srun -n1 --gpus=1 --numa-align {probe}", user="user", check=True)
        assert_healthy(native)
    assert ranks_of(result)[0].environment["NUMA_ALIGN_STATE"] == "unaligned"
    assert len(said_by_plugin(result).splitlines()) == 1
    lines = logged(native)
    assert (
        len(lines) == 2 and "prolog of job" in lines[0] and "127" in lines[0] and "epilog of job" in lines[1]
    )


@pytest.mark.parametrize(
    ("mount", "reason"),
    [
        (
            "-o size=4k,mode=755 full {run} && head -c 4096 /dev/zero > {run}/x",
            "No space left",
        ),
        ("-o ro,mode=755 readonly {run}", "Read-only file system"),
    ],
    ids=["full", "read-only"],
)
def test_a_run_directory_that_takes_no_file_costs_no_job(native: Native, mount: str, reason: str) -> None:
    native.run(f"mkdir -p {RUN} && mount -t tmpfs {mount.format(run=RUN)}", check=True)
    try:
        result, rank = submit(native)
        left = native.run(f"ls -A {RUN}").stdout.split()
    finally:
        native.run(f"umount {RUN}", check=True)
    assert rank.environment["NUMA_ALIGN_STATE"] == "unaligned"
    assert len(said_by_plugin(result).splitlines()) == 1
    (line,) = logged(native)
    assert "no table written" in line and reason in line
    assert left in ([], ["x"]), "no half of a table"


def test_tables_that_no_epilog_took_away_are_swept_by_a_later_one(native: Native) -> None:
    submit(native)
    native.run(f"touch {RUN}/77 {RUN}/.78.new {RUN}/79; touch -d '2 days ago' {RUN}/77 {RUN}/.78.new")
    with allocated(native, "-n1 --gpus=1") as job:
        native.run(f"touch -d '2 days ago' {RUN}/{job}", check=True)
        native.run("srun -n1 --gpus=1 --numa-align true", user="user", check=True)
        native.run(f"until [ ! -e {RUN}/77 ]; do sleep 0.1; done", check=True, timeout=20)
        kept = native.run(f"ls -A {RUN}", check=True).stdout.split()
    assert sorted(kept) == sorted([job, "79"]), "not that of a job that runs, nor a young one"
    native.run(f"rm {RUN}/79", check=True)


SWEEP = (
    "python3 -I -S -c \"import sys, time; sys.path.insert(0, '/usr/lib/numa-align/python'); "
    'from numa_align.hooks.prolog import sweep; print(sweep(now=time.time() + {} * 86400))"'
)


def test_a_job_between_two_steps_keeps_its_table(native: Native) -> None:
    """With Contain a slurmstepd is there all the time; without, the end of the time limit tells."""
    submit(native)
    try:
        for flags in ("Contain", "Alloc"):
            native.configure(replace(native.config, prolog_flags=flags))
            with allocated(native, "-n1 --gpus=1 --time=3-0") as job:
                assert (
                    asking.ask(native, job, "--gpus=1 --numa-align").environment["NUMA_ALIGN_STATE"]
                    == "aligned"
                )
                # The step's own may be there for a moment after srun has ended.
                wanted = int(flags == "Contain")
                count = "pgrep -xc slurmstepd"
                native.run(f"until [ $({count}) -le {wanted} ]; do sleep 0.1; done", timeout=60)
                assert native.run(count).stdout.strip() == str(wanted)
                assert native.run(SWEEP.format(3), check=True).stdout == "[]\n"
                after = native.run(SWEEP.format(40), check=True).stdout
                assert after == ("[]\n" if flags == "Contain" else f"[{job}]\n")
                state = asking.ask(native, job, "--gpus=1 --numa-align").environment["NUMA_ALIGN_STATE"]
                assert state == ("aligned" if flags == "Contain" else "unaligned")
    finally:
        native.configure(WITHOUT_CGROUPS)


def test_a_table_of_another_version_is_told_and_written_anew(native: Native) -> None:
    """As after an upgrade of a node whose jobs go on; the commands are those of docs/administrators.md."""
    with allocated(native, "-n1 --gpus=2") as job:
        native.run(f"sed -i '1s/ 1$/ 99/' {RUN}/{job}", check=True)
        before = native.run(
            f"srun --jobid={job} --overlap -n1 --numa-align {PROBE}; numa-align doctor", user="user"
        )
        gpus = native.run(
            f"scontrol show job -d {job} | sed -n 's/.*(IDX:\\([0-9,-]*\\)).*/\\1/p'", check=True
        )
        anew = f"SLURM_JOB_ID={job} SLURM_JOB_GPUS={gpus.stdout.strip()} numa-align-prolog"
        native.run(anew, check=True)
        after = asking.ask(native, job, "--gpus=2 --numa-align")
        table = native.run(["cat", f"{RUN}/{job}"], check=True).stdout
    assert ranks_of(before)[0].environment["NUMA_ALIGN_STATE"] == "unaligned"
    assert "another version (this is 1): start the job again, or let root run its prolog" in before.stderr
    assert "another version" in ranks_of(before)[0].environment["NUMA_ALIGN_REASON"]
    assert f"SLURM_JOB_ID={job} SLURM_JOB_GPUS=IDX numa-align-prolog" in before.stdout
    assert after.environment["NUMA_ALIGN_STATE"] == "aligned"
    assert len([line for line in table.splitlines() if line.startswith("gpu ") and " yes " in line]) == 2


def test_strict_fails_the_task_before_it_starts_with_the_reason(native: Native) -> None:
    with allocated(native, "-n2 -O --gpus=1") as job:
        native.run(f"rm {RUN}/{job}", check=True)
        command = f"srun --jobid={job} --overlap -n1 --numa-align=strict sh -c 'echo started'"
        result = native.run(command, user="user")
    assert result.status == 1 and "started" not in result.stdout
    assert "strict was asked for, so it does not start" in result.stderr and "No such file" in result.stderr
    assert_healthy(native)
