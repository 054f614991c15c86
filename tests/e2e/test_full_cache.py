"""Memory stays near when the GPUs' node is full of page cache: four tasks near GPUs of node 0."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from machine import EmulatedMachine, Hardware
from machine.patience import PROLOG_CONF, make_room_patiently

from .machines import ROOT, booted

pytestmark = pytest.mark.machine

TOUCH = ROOT / "tests/bench/touch.py"
FOLDER = "/dev/shm/touch"
TASKS, MIB = 4, 100

#: Reads the disk, which is larger than the node, on a CPU of node 0.
FILL = "sync; echo 3 >/proc/sys/vm/drop_caches; taskset -c 0 cat /dev/vda >/dev/null"
#: Takes the place of cache on node 1 and ends. Where both nodes are full, the kernel reclaims on both.
LEAVE_NODE_1 = "numactl --membind=1 python3 -S -c 'bytearray({} << 20)'"


@pytest.fixture(scope="module")
def machine() -> Iterator[EmulatedMachine]:
    with booted(Hardware(gpus=(0, 0, 0, 0))) as ready:
        ready.copy_in(TOUCH, "/opt/touch.py")
        yield ready


@pytest.fixture
def room(machine: EmulatedMachine) -> Iterator[None]:
    """The site's word for making room."""
    make_room_patiently(machine)
    yield
    machine.run(f"rm {PROLOG_CONF}", check=True)


def mib(machine: EmulatedMachine, node: int, name: str) -> int:
    """A line of the node's meminfo."""
    text = machine.run(f"cat /sys/devices/system/node/node{node}/meminfo", check=True).stdout
    found = re.search(rf"Node {node} {re.escape(name)}:\s+(\d+) kB", text)
    assert found, text
    return int(found[1]) >> 10


def fill(machine: EmulatedMachine) -> None:
    machine.run(FILL, check=True, timeout=300)
    assert mib(machine, 0, "MemFree") < 100
    assert mib(machine, 0, "Inactive(file)") > 400


def fill_node_0_only(machine: EmulatedMachine) -> None:
    fill(machine)
    machine.run(LEAVE_NODE_1.format(TASKS * MIB + 64), check=True)
    assert mib(machine, 1, "MemFree") > TASKS * MIB
    assert mib(machine, 0, "MemFree") < 100


def near(machine: EmulatedMachine, options: str, how: str, prefix: str = "") -> list[float]:
    """Share of each task's memory on node 0, by its numa_maps, in the order of the ranks."""
    machine.run(f"rm -rf {FOLDER}; install -d -m 1777 {FOLDER}", check=True)
    command = f"srun -n{TASKS} --gpus={TASKS} {options} {prefix} python3 -S /opt/touch.py {FOLDER} {TASKS}"
    said = machine.run(f"{command} {MIB} {how}", user="user", cwd="/tmp", timeout=300, check=True).stdout
    ranks = sorted(map(json.loads, said.splitlines()), key=lambda one: one["rank"])
    assert [one["rank"] for one in ranks] == list(range(TASKS)), said
    assert all(sum(one["nodes"].values()) > 0.99 * MIB for one in ranks), said
    return [one["nodes"].get("0", 0) / sum(one["nodes"].values()) for one in ranks]


def assert_nobody_was_killed(machine: EmulatedMachine) -> None:
    assert "ut of memory" not in machine.run("busybox dmesg", check=True).stdout


def test_a_preferred_node_alone_sends_memory_elsewhere(machine: EmulatedMachine) -> None:
    """The problem itself: without it, the other tests here would prove nothing."""
    fill_node_0_only(machine)
    assert max(near(machine, "", "small slow", "numactl --cpunodebind=0 --preferred=0")) < 0.5


@pytest.mark.parametrize("filled", [fill_node_0_only, fill])
def test_memory_that_is_touched_slowly_stays_near(
    machine: EmulatedMachine, filled: Callable[[EmulatedMachine], None]
) -> None:
    filled(machine)
    shares = near(machine, "--numa-align", "small slow")
    assert min(shares) >= 0.95, shares
    assert_nobody_was_killed(machine)


def make_room(machine: EmulatedMachine, enough: int) -> None:
    """By the prologs of jobs."""
    for _ in range(8):
        machine.run(f"srun -n{TASKS} --gpus={TASKS} true", user="user", cwd="/tmp", timeout=120, check=True)
        machine.settle()
        if mib(machine, 0, "MemFree") >= enough:
            return
    pytest.fail(f"{mib(machine, 0, 'MemFree')} MiB are free on node 0")


@pytest.mark.usefixtures("room")
# In huge pages all is touched within a moment; on a busy host the emulated machine makes room too slowly.
@pytest.mark.parametrize("pages", ["small", pytest.param("huge", marks=pytest.mark.matrix)])
def test_a_burst_stays_near_where_the_prolog_has_made_room(machine: EmulatedMachine, pages: str) -> None:
    fill(machine)
    elsewhere = mib(machine, 1, "Inactive(file)")
    make_room(machine, TASKS * MIB + 64)
    assert mib(machine, 1, "Inactive(file)") > elsewhere * 0.9, "cache of a node without the job's GPUs went"
    shares = near(machine, "--numa-align", f"{pages} burst")
    assert min(shares) >= 0.95, shares
    assert_nobody_was_killed(machine)


def test_without_the_kernels_file_room_is_not_built_in(machine: EmulatedMachine) -> None:
    fill(machine)
    machine.run(f"srun -n{TASKS} --gpus={TASKS} true", user="user", cwd="/tmp", check=True)
    assert mib(machine, 0, "MemFree") < 150


def test_a_kernel_that_drops_cache_by_itself_needs_no_word() -> None:
    """Linux 6.17 and later; huge pages, which need room on every kernel."""
    with booted(Hardware(gpus=(0, 0, 0, 0)), "26.05") as machine:
        machine.copy_in(TOUCH, "/opt/touch.py")
        fill(machine)
        elsewhere = mib(machine, 1, "Inactive(file)")
        shares = near(machine, "--numa-align", "huge burst")
        assert min(shares) >= 0.95, shares
        assert mib(machine, 1, "Inactive(file)") > elsewhere * 0.9, (
            "cache of a node without the job's GPUs went"
        )
        assert_nobody_was_killed(machine)
