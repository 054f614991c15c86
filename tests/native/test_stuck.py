"""A node where nothing can be started any more, and one with a disk or a server that does not answer.

A prolog or epilog that fails drains the node, and one that does not end holds every job up. What is injected
here is the kernel's own: a pids cgroup without room, and processes in state D, which no signal ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from e2e.steps import PROBE, ranks_of

from native import Native

from .asking import said_by_plugin

pytestmark = pytest.mark.native

PROLOG, EPILOG = "/usr/sbin/numa-align-prolog", "/usr/sbin/numa-align-epilog"
STATE = "sinfo --noheader --format=%T"
PYTHONS = "ps -e -o stat=,args= | grep -c '^D.*[p]rolog.py\\|^D.*[e]pilog.py'"


def run_a_job(native: Native) -> tuple[float, str]:
    """Seconds that a job took from its submission to its end, and the state of its task."""
    begin = time.monotonic()
    result = native.run(f"srun -n1 --gpus=1 --numa-align {PROBE}", user="user", check=True, timeout=90)
    (rank,) = ranks_of(result)
    assert len(said_by_plugin(result).splitlines()) <= 1
    return time.monotonic() - begin, rank.environment["NUMA_ALIGN_STATE"]


# -- State D -----------------------------------------------------------------------------------

#: A file system whose server reads every request and answers none: callers wait in state D until it has
#: (fs/fuse/dev.c, request_wait_answer), as with a server of NFS that has gone.
SILENT = """
import ctypes, os, struct, sys
file = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={file},rootmode=40755,user_id=0,group_id=0,allow_other".encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"silent", sys.argv[1].encode(), b"fuse", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
_, _, unique, *_ = struct.unpack_from("=IIQ", os.read(file, 1 << 18))
hello = struct.pack("=IIIIHHIIHHII", 7, 31, 4096, 0, 0, 0, 4096, 1, 0, 0, 0, 0) + bytes(24)
os.write(file, struct.pack("=IiQ", 16 + len(hello), 0, unique) + hello)
print("ready", flush=True)
while True:
    os.read(file, 1 << 18)
"""


@contextlib.contextmanager
def silent(native: Native, folder: str) -> Iterator[None]:
    """No request about this folder is answered."""
    native.put({"/opt/silent.py": SILENT})
    native.run(f"mkdir -p {folder}; [ -e /dev/fuse ] || mknod -m 600 /dev/fuse c 10 229", check=True)
    server = native.start(["python3", "/opt/silent.py", folder])
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        native.run(f"pkill -f '^python3 /opt/silent.py'; umount -l {folder}", check=True)
        server.communicate(timeout=20)


@contextlib.contextmanager
def frozen(native: Native, folder: str, image: Path) -> Iterator[None]:
    """What is written below this folder waits in state D, what is read is answered (fsfreeze(8))."""
    image.write_bytes(bytes(4 << 20))
    subprocess.run(["mkfs.ext4", "-q", "-E", "root_owner=0:0", image], check=True)
    native.put({"/opt/frozen": image.read_bytes()})
    native.run(
        "[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237; "
        "for n in 0 1 2 3 4 5 6 7; do [ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done; "
        f"mkdir -p {folder} && mount -o loop /opt/frozen {folder} && chmod 755 {folder} && "
        f"fsfreeze -f {folder}",
        check=True,
    )
    try:
        yield
    finally:
        native.run(f"fsfreeze -u {folder}; umount -l {folder}; rm /opt/frozen", check=True)


@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="the kernel has no FUSE (modprobe fuse)")
def test_a_prolog_stuck_in_a_wait_costs_12_seconds(native: Native) -> None:
    run_a_job(native)
    with silent(native, "/etc/numa-align"):
        seconds, state = run_a_job(native)
        assert native.run(PYTHONS).stdout.strip() == "1", "not even SIGKILL has ended it"
        assert native.run(STATE).stdout.strip() in ("idle", "completing")
    native.settle()
    assert 9 < seconds < 20 and state == "unaligned"
    assert run_a_job(native)[1] != "unaligned", "and it was not for another reason"


@pytest.mark.skipif(
    not Path("/dev/loop-control").exists() or shutil.which("mkfs.ext4") is None,
    reason="needs loop devices and mkfs.ext4 (e2fsprogs)",
)
def test_a_stuck_write_of_prolog_and_epilog_costs_12_seconds_each(native: Native, tmp_path: Path) -> None:
    native.settle()  # or the epilog of the job before is stuck as well, and this one waits for both
    with frozen(native, "/run/numa-align", tmp_path / "image"):
        seconds, state = run_a_job(native)
        begin = time.monotonic()
        native.settle()
        assert time.monotonic() - begin < 20
        assert int(native.run(PYTHONS).stdout) >= 1
    assert 9 < seconds < 20 and state == "unaligned"
    native.settle()


# -- No process left ---------------------------------------------------------------------------

PIDS_V1 = Path("/sys/fs/cgroup/pids")
PIDS_V2 = Path("/sys/fs/cgroup")


def pids_hierarchy() -> Path | None:
    """Where a cgroup that limits processes can be made."""
    if (PIDS_V1 / "cgroup.procs").exists():
        return PIDS_V1
    control = PIDS_V2 / "cgroup.subtree_control"
    return PIDS_V2 if control.exists() and "pids" in control.read_text().split() else None


@contextlib.contextmanager
def crowded(native: Native, room: int) -> Iterator[None]:
    """slurmd, and what it starts, may have this many more processes; threads count (cgroup v1 pids.txt).

    The cgroup is the host's, and is taken away again.
    """
    above = pids_hierarchy()
    assert above is not None and native.pid
    group = above / f"numa-align-{os.getpid()}"
    group.mkdir()
    try:
        for process in psutil.Process(native.pid).children():
            if process.name() == "slurmd":
                (group / "cgroup.procs").write_text(str(process.pid))
        (group / "pids.max").write_text(str(int((group / "pids.current").read_text()) + room))
        yield
    finally:
        (group / "pids.max").write_text("max")
        for _ in range(100):
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    (above / "cgroup.procs").write_text(pid)
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.05)


def drains(native: Native, room: int) -> bool:
    """Whether a job on such a node drains it, whatever becomes of the job."""
    with crowded(native, room):
        native.run("timeout -s KILL 20 srun -n1 true", user="user", timeout=30)
        native.run("scancel --user=user; sleep 1")
        state = native.run(STATE).stdout.strip()
    native.configure(native.config)
    return "drain" in state


@contextlib.contextmanager
def scripts(native: Native, text: str) -> Iterator[None]:
    """Others in the place of prolog and epilog."""
    native.run(f"mv {PROLOG} {PROLOG}.kept; mv {EPILOG} {EPILOG}.kept", check=True)
    native.put({PROLOG: text, EPILOG: text}, mode=0o755)
    try:
        yield
    finally:
        native.run(f"mv -f {PROLOG}.kept {PROLOG}; mv -f {EPILOG}.kept {EPILOG}", check=True)


@pytest.mark.skipif(pids_hierarchy() is None, reason="no cgroup with a limit of processes can be made here")
def test_a_prolog_that_cannot_fork_does_not_drain_the_node(native: Native) -> None:
    """If a script that only has `exit 0` leaves the node alone, so does ours; other scripts do not."""
    rooms = range(1, 5)
    ours = {room for room in rooms if drains(native, room)}
    with scripts(native, "#!/bin/sh\nexit 0\n"):
        assert ours <= {room for room in rooms if drains(native, room)}
    with scripts(native, "#!/bin/sh\ntimeout 5 true\nexit 0\n"):
        assert any(drains(native, room) for room in rooms), "the limit is never met where it would show"
