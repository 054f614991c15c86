"""Room on the nodes of a job's GPUs: how much is made, when, and that nothing else is affected."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from builder import Machine, on_nodes
from numa_align.errors import SpecError
from numa_align.process.make_room import make_room, memory_headroom
from numa_align.process.node_memory import NodeMemory, parse_meminfo, read_node_memory
from numa_align.process.room import AUTO, OFF, Room, is_room, next_slice, parse_room, wanted_by_node
from numa_align.process.take import Taken
from numa_align.sysfs import Tree

MIB, GIB = 1 << 20, 1 << 30
RECLAIM = Path("/sys/devices/system/node/node0/reclaim")

MEMINFO = """
Node 1 MemTotal:       786432 kB
Node 1 MemFree:         44032 kB
Node 1 Active(file):   102400 kB
Node 1 Inactive(file): 409600 kB
Node 1 Dirty:           10240 kB
Node 1 Writeback:        2048 kB
Node 1 Mapped:          20480 kB
Node 1 Shmem:          204800 kB
"""


def node(free: int, clean: int, total: int = 1024) -> NodeMemory:
    return NodeMemory(0, total * MIB, free * MIB, clean * MIB)


def test_clean_cache_is_what_nobody_maps_and_nobody_has_to_write() -> None:
    assert parse_meminfo(MEMINFO, 1) == NodeMemory(
        1, 786432 << 10, 44032 << 10, (102400 + 409600 - 10240 - 2048 - 20480) << 10
    )
    assert parse_meminfo(MEMINFO, 0) is None and parse_meminfo(None, 0) is None


def test_the_kernels_own_file_is_understood() -> None:
    memory = read_node_memory(0)
    assert memory is not None and 0 < memory.free < memory.total and memory.clean < memory.total


@pytest.mark.parametrize(
    ("text", "room"),
    [("off", OFF), ("auto", AUTO), ("512", Room(True, 512 * MIB)), ("8G", Room(True, 8 * GIB)),
     (" 1t ", Room(True, 1 << 40)), ("4096K", Room(True, 4 * MIB))],
)  # fmt: skip
def test_words(text: str, room: Room) -> None:
    assert parse_room(text) == room


@pytest.mark.parametrize("text", ["", "on", "-1", "0", "8X", "G", "1.5G", "٣", "9" * 30])
def test_a_wrong_word_is_told_with_those_that_exist(text: str) -> None:
    with pytest.raises(SpecError, match=r"room: .* is not one of off\|auto\|SIZE"):
        parse_room(text)


def test_a_job_wants_its_part_of_the_nodes_of_its_gpus() -> None:
    topology = Machine(packages=2, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1), memory_bytes=64 * GIB).topology()
    assert wanted_by_node(topology, [0, 1, 2, 3], AUTO) == {0: 48 * GIB}
    assert wanted_by_node(topology, [0, 4, 5], AUTO) == {0: 12 * GIB, 1: 24 * GIB}
    assert wanted_by_node(topology, [0, 4], AUTO, limit=2 * GIB) == {0: 2 * GIB, 1: 2 * GIB}
    assert wanted_by_node(topology, [7], Room(True, 5 * GIB)) == {1: 5 * GIB}
    assert wanted_by_node(topology, [7], OFF) == {} == wanted_by_node(topology, [], AUTO)


def test_nothing_is_done_where_enough_is_free() -> None:
    assert is_room(node(500, 400), 500 * MIB) and not is_room(node(499, 400), 500 * MIB)


def test_slices_end_at_what_is_wanted_and_before_the_last_clean_cache() -> None:
    assert next_slice(node(100, 800), 500 * MIB) == 64 * MIB
    assert next_slice(node(490, 410), 500 * MIB) == 10 * MIB
    assert next_slice(node(100, 40), 500 * MIB) == 8 * MIB  # a thirty-second of the node stays
    assert next_slice(node(100, 32), 500 * MIB) == 0
    assert next_slice(node(500, 400), 500 * MIB) == 0


def test_memory_is_taken_only_while_free_and_clean_memory_suffice() -> None:
    assert next_slice(node(20, 500), 400 * MIB, 0) == 64 * MIB
    assert next_slice(node(20, 200), 400 * MIB, 370 * MIB) == 10 * MIB
    assert next_slice(node(10, 22), 400 * MIB, 300 * MIB) == 0


def cgroups(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(root)


def test_the_headroom_of_nested_cgroups_is_the_smallest(tmp_path: Path) -> None:
    tree = cgroups(
        tmp_path,
        {
            "proc/self/cgroup": "0::/job_1/step_0\n",
            "sys/fs/cgroup/job_1/memory.max": f"{GIB}\n",
            "sys/fs/cgroup/job_1/memory.current": f"{900 * MIB}\n",
            "sys/fs/cgroup/job_1/memory.stat": f"anon 5\ninactive_file {300 * MIB}\n",
            "sys/fs/cgroup/job_1/step_0/memory.max": "max\n",
            "sys/fs/cgroup/job_1/step_0/memory.current": "0\n",
        },
    )
    assert memory_headroom(tree) == 424 * MIB


def test_the_headroom_of_version_1_and_without_a_limit(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/memory/slurm/uid_1"
    tree = cgroups(
        tmp_path,
        {
            "proc/self/cgroup": "9:name=systemd:/x\n4:cpu,memory:/slurm/uid_1\n0::/\n",
            f"{base}/memory.limit_in_bytes": f"{GIB}\n",
            f"{base}/memory.usage_in_bytes": f"{2 * GIB}\n",
        },
    )
    assert memory_headroom(tree) == 0
    (tmp_path / base / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory_headroom(tree) is None


def test_enough_free_memory_is_left_alone() -> None:
    assert make_room({0: 1 << 20}) == ()
    assert make_room({4000: 1 << 40}) == ()


@pytest.mark.skipif(not os.access(RECLAIM, os.W_OK), reason="needs root and a kernel with nodeN/reclaim")
def test_the_kernel_drops_clean_cache_where_it_is_asked_to(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(os.urandom(MIB) * 64)
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())
    grown = 0
    for _ in range(5):  # others of a busy host take memory meanwhile
        before = read_node_memory(0)
        assert before is not None
        (made,) = make_room({0: before.free + 96 * MIB})
        after = read_node_memory(0)
        assert after is not None
        grown = after.free - before.free
        if grown > 32 * MIB:
            break
    assert grown > 32 * MIB
    assert made.milliseconds < 1200
    assert "room on node 0: " in made.line and "MiB free in " in made.line


def test_what_is_taken_is_in_memory_until_it_is_given_back() -> None:
    taken = Taken()
    try:
        taken.take(8 * MIB)
        taken.take(1 * MIB + 3)
        assert taken.size == 9 * MIB == held()
    finally:
        taken.close()
    assert held() == 0


def held() -> int:
    """Bytes of memory in this process's files for it."""
    files = [file for file in Path("/proc/self/fd").iterdir() if "numa-align-room" in str(file.resolve())]
    return sum(512 * file.stat().st_blocks for file in files)


def test_what_cannot_be_taken_is_told() -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    taken = Taken()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
        with pytest.raises(OSError, match="too large"):
            taken.take(8 * MIB)
        assert taken.size == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        taken.close()
