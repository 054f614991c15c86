"""`numa-align check` of processes in every condition: one line, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

import pytest
from numa_align.errors import HiddenError, KernelError
from numa_align.process.state import parse_numa_maps_line, read_process, shared_together

MIB = 1 << 20


def check(*arguments: str, env: Optional[dict[str, str]] = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "numa_align", "check", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=env,
    )


def test_it_judges_itself_and_the_json_has_the_documented_fields() -> None:
    data = json.loads(check("--json").stdout)
    assert set(data) == {
        "version", "task", "node", "pid", "gpus", "cpus", "cpu_nodes", "policy", "policy_nodes",
        "bytes_by_node", "private_by_node", "shared_by_node", "near_percent", "state", "reason",
        "note", "undone", "nics",
    }  # fmt: skip


def test_of_a_process_without_a_gpu_no_share_is_near_one() -> None:
    data = json.loads(check("--json", env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}).stdout)
    assert (data["gpus"], data["near_percent"]) == ([], None)


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


LINES = {
    # Seen on a machine with an H100: memory that PyTorch has pinned.
    r"7f2a00000000 prefer (many):0 file=/dev/zero\040(deleted) dirty=131072 active=0 N0=131072 "
    "kernelpagesize_kB=4": ("shared", {0: 512 * MIB}),
    r"7f2a00000000 default file=/dev/shm/torch_12_34 dirty=256 mapmax=3 N1=256 kernelpagesize_kB=4":
        ("shared", {1: MIB}),
    r"7f2a00000000 default file=/memfd:pool\040(deleted) dirty=512 N0=256 N1=256 kernelpagesize_kB=4":
        ("shared", {0: MIB, 1: MIB}),
    r"7f2a00000000 default file=/SYSV00000000\040(deleted) dirty=256 N0=256 kernelpagesize_kB=4":
        ("shared", {0: MIB}),
    r"7f2a00000000 bind:1 file=/dev/hugepages/model huge dirty=3 N1=3 kernelpagesize_kB=2048":
        ("shared", {1: 6 * MIB}),
    r"7f2a00000000 default file=/anon_hugepage\040(deleted) huge anon=2 dirty=2 N0=2 kernelpagesize_kB=2048":
        ("private", {0: 4 * MIB}),
    "7f2a00000000 default huge anon=1 dirty=1 N0=1 kernelpagesize_kB=1048576": ("private", {0: 1024 * MIB}),
    "55d0c0a00000 default heap anon=512 dirty=512 N0=512 kernelpagesize_kB=4": ("private", {0: 2 * MIB}),
    "7f2a00000000 default file=/usr/lib/libc.so.6 anon=4 dirty=4 N1=4 kernelpagesize_kB=4":
        ("private", {1: 16384}),
    "7f2a00000000 default file=/usr/lib/libc.so.6 anon=1 dirty=1 mapped=256 N1=256 kernelpagesize_kB=4":
        ("cache", {1: MIB}),
    "7f2a00000000 default file=/data/train.bin mapped=256 N1=256 kernelpagesize_kB=4": ("cache", {1: MIB}),
    "7f2a00000000 default file=/dev/shmem-tool mapped=256 N1=256 kernelpagesize_kB=4": ("cache", {1: MIB}),
}  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_memory_of_the_process_is_told_from_page_cache(line: str) -> None:
    area = parse_numa_maps_line(line)
    assert (area.kind, dict(area.bytes_by_node)) == LINES[line]


HOLDER = """
import ctypes, mmap, os, sys
MIB = 1 << 20
def fill(area, size):
    area[::4096] = b"x" * (size // 4096)
private = mmap.mmap(-1, 4 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); fill(private, 4 * MIB)
pinned = mmap.mmap(-1, 8 * MIB); fill(pinned, 8 * MIB)
fd = os.memfd_create("pool"); os.ftruncate(fd, 16 * MIB)
memfd = mmap.mmap(fd, 16 * MIB); fill(memfd, 16 * MIB)
twice = mmap.mmap(fd, 16 * MIB); fill(twice, 16 * MIB)
file = open(sys.argv[1], "w+b"); file.truncate(32 * MIB)
shm = mmap.mmap(file.fileno(), 32 * MIB); fill(shm, 32 * MIB)
libc = ctypes.CDLL(None); libc.shmat.restype = ctypes.c_void_p
key = libc.shmget(0, 64 * MIB, 0o600); at = libc.shmat(key, None, 0); libc.shmctl(key, 0, None)
ctypes.memset(at, 1, 64 * MIB)
with open(sys.argv[2], "rb") as data:
    cache = mmap.mmap(data.fileno(), 0, prot=mmap.PROT_READ); cache[::4096]
if not os.fork():
    fill(pinned, 8 * MIB); fill(shm, 32 * MIB)
    print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/numa_maps").exists(), reason="a kernel without NUMA")
def test_each_way_to_have_memory_is_counted_and_what_is_shared_once(tmp_path: Path) -> None:
    """Real mappings of a real process and of its child; the sizes are what the program asked for."""
    data, name = tmp_path / "data", Path(f"/dev/shm/numa-align-test-{os.getpid()}")
    data.write_bytes(bytes(24 << 20))
    command = [sys.executable, "-c", HOLDER, str(name), str(data)]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            parent = read_process(process.pid)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            child = read_process(int(children.read_text().split()[0]))
            shown = check("--pid", str(process.pid), "--json")
            process.communicate("")
    finally:
        name.unlink(missing_ok=True)
    shared, private = sum(parent.shared_by_node.values()), sum(parent.private_by_node.values())
    assert shared == (8 + 16 + 32 + 64) * MIB, "pinned, memfd once, /dev/shm, SysV"
    assert 4 * MIB < private < 20 * MIB, "the private area and the interpreter, no page of the file"
    assert sum(shared_together([parent, child]).values()) == shared
    assert sum(child.shared_by_node.values()) >= (8 + 32) * MIB
    told = json.loads(shown.stdout)
    assert sum(told["shared_by_node"].values()) == shared
    assert sum(told["bytes_by_node"].values()) == shared + sum(told["private_by_node"].values())
