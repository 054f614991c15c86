"""What the kernel's files on a process are read as."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from numa_align.errors import KernelError
from numa_align.process.state import parse_status, read_bytes, read_environment, read_process, read_status

STATUS = (
    "Name:\t{name}\nUmask:\t0022\nState:\tS (sleeping)\nThreads:\t3\n"
    "Cpus_allowed:\tff\nCpus_allowed_list:\t0-3,8\nMems_allowed:\t3\nMems_allowed_list:\t0-1\n"
)


@pytest.fixture
def nameless() -> Iterator[int]:
    """A process that has given itself the empty name."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(15, b"", 0, 0, 0)  # PR_SET_NAME
        os.write(told, b"x")
        signal.pause()
    os.read(ready, 1)
    yield child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_an_empty_name_is_not_the_next_line(nameless: int) -> None:
    assert read_status(f"/proc/{nameless}").name == "?"


def test_a_status_is_read_field_by_field() -> None:
    status = parse_status(STATUS.format(name=r"a b\nState:\tZ"))
    assert status == (r"a b\nState:\tZ", False, (0, 1, 2, 3, 8), (0, 1), 3)


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_last_line_counts_without_a_line_break(end: str) -> None:
    assert parse_status(f"State:\tZ\nMems_allowed_list:\t1{end}") == ("?", True, (), (1,), 0)


def test_a_set_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Cpus_allowed_list:\tx\n")
    with pytest.raises(KernelError, match="status is not understood: 'x' is not a number"):
        read_status(str(tmp_path))


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 100_000])
def test_a_file_is_read_to_its_end(size: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)
    assert read_bytes(str(tmp_path / "file")) == b"x" * size
    assert len(read_bytes(str(tmp_path / "file"), 4096)) == min(size, 4096)


def test_an_environment_is_whole_and_not_text_alone(tmp_path: Path) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/environ").write_bytes(b"A=1\0B=x=\xff\0C=\0=D\0E")
    assert read_environment(7, tmp_path) == {"A": "1", "B": "x=\udcff", "C": "", "E": ""}


def _recorded(folder: Path, maps: str) -> Path:
    (folder / "proc/7").mkdir(parents=True)
    (folder / "proc/7/status").write_text(STATUS.format(name="x"))
    (folder / "proc/7/numa_maps").write_text(maps)
    return folder


def test_private_memory_is_summed_and_cache_is_not(tmp_path: Path) -> None:
    maps = (
        "55d0 bind:1 heap anon=2 dirty=2 N1=2 kernelpagesize_kB=4\n"
        "7f00 bind:1\n"
        "7f10 default file=/usr/lib/libc.so.6 mapped=9 N0=9 kernelpagesize_kB=4\n"
        "7f20 bind:1 anon=3 dirty=3 N0=1 N1=2 kernelpagesize_kB=4\n"
    )
    state = read_process(7, _recorded(tmp_path, maps))
    assert (str(state.policy), state.private_by_node, state.shared) == ("bind:1", {0: 4096, 1: 16384}, {})
    without = read_process(7, tmp_path, memory=False)
    assert (str(without.policy), without.bytes_by_node) == ("bind:1", {})


def test_a_line_that_is_not_understood_is_said(tmp_path: Path) -> None:
    root = _recorded(tmp_path, "55d0 default heap\nnonsense\n")
    with pytest.raises(KernelError, match="numa_maps has a line that is not understood"):
        read_process(7, root)
