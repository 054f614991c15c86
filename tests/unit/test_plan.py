"""`numa-align plan`: its input, its output, and the picture that it draws."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from builder import Device, Machine, on_nodes
from numa_align.errors import ClaimError, RequestError
from numa_align.placement.claim import Spec
from numa_align.placement.plan import Request, make_plan, select_cpus, select_gpus
from numa_align.topology.read import read_at
from numa_align.view.terminal import mark, show
from rich.console import Console

SOCKETS = Machine(packages=2, caches=2, cores=4, smt=2, gpus=on_nodes(1, 0, 0, 1))
TOPOLOGY = SOCKETS.topology()
UUIDS = (Device(0, uuid="GPU-aaaa0000-1"), Device(0, uuid="GPU-aaaa1111-2"))


def numa_align(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "numa_align", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def picture(machine: Machine, request: Request, width: int = 80) -> str:
    topology, output = machine.topology(), StringIO()
    show(topology, make_plan(topology, request), Console(file=output, width=width, highlight=False))
    return output.getvalue()


def test_the_json_is_the_agreed_one_to_the_field(tmp_path: Path) -> None:
    root = str(SOCKETS.write(tmp_path))
    result = numa_align(
        "plan", "--root", root, "--gpus", "0,1", "--cpus", "0-7,16-19", "--tasks", "2", "--json"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "version": 1,
        "tasks": [
            {
                "task": 0,
                "gpus": ["0000:11:00.0"],
                "cpus": "4-7",
                "memory_nodes": [1],
                "policy": "preferred-many",
                "state": "memory-only",
                "reason": "this step has no CPU near its GPUs; it has a share of those farther away",
                "advice": "request more cores near the GPUs with --gres-flags=enforce-binding, "
                "or the whole node with --exclusive",
                "cpus_on_own_nodes": 0,
                "cpus_beside": 0,
                "note": None,
                "nics": [],
            },
            {
                "task": 1,
                "gpus": ["0000:21:00.0"],
                "cpus": "0-3,16-19",
                "memory_nodes": [0],
                "policy": "preferred-many",
                "state": "aligned",
                "reason": None,
                "advice": None,
                "cpus_on_own_nodes": 8,
                "cpus_beside": 0,
                "note": None,
                "nics": [],
            },
        ],
    }


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-n1", "--gpus", "4"], "there is no GPU '4'; there are 0 (0000:11:00.0), 1 (0000:21:00.0), "),
        (["-n1", "--gpus", "GPU-nope"], "there is no GPU 'GPU-nope'; there are 0 (0000:11:00.0), "),
        (["-n1", "--cpus", "0,99-100"], "no CPU 99-100 is online; 0-31 are"),
        (["-n1", "--cpus", "a"], "'a' is not a number"),
        (
            ["-n1", "--numa-align", "fast"],
            'unknown word "fast"; valid words are on, off, strict, verbose, nic, mem=',
        ),
        (["-n1", "--gpus", ""], "--no-gpus plans a step without GPUs"),
    ],
)
def test_wrong_input_is_one_line_that_says_what_there_is(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    result = numa_align("plan", "--root", str(SOCKETS.write(tmp_path)), *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("numa-align: ") and result.stderr.count("\n") == 1
    assert complaint in result.stderr


@pytest.mark.parametrize(
    "arguments", [["-n0"], [], ["-n1", "--gpus", "0", "--no-gpus"], ["-n1", "--visible", "x"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    result = numa_align("plan", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.endswith("see `numa-align plan --help`\n") and result.stderr.count("\n") == 1


def test_folder_without_a_machine_is_one_line(tmp_path: Path) -> None:
    result = numa_align("plan", "--root", str(tmp_path), "-n1")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "no CPU is described" in result.stderr


def test_help_of_the_option_is_printed_without_a_machine(tmp_path: Path) -> None:
    result = numa_align("plan", "--root", str(tmp_path), "-n1", "--numa-align", "help")
    assert result.returncode == 0 and "cpus=slice" in result.stdout


def test_this_machine_can_be_planned() -> None:
    result = numa_align("plan", "-n1", "--json")
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)["tasks"]) == 1


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        (None, (0, 1, 2, 3)),
        ("2", (2,)),
        ("1-3", (1, 2, 3)),
        ("3,0,3", (0, 3)),
        ("0000:21:00.0", (1,)),
        ("21:00.0,00000000:31:00.0", (1, 2)),
        ("0000:41:00.0 0", (0, 3)),
    ],
)
def test_gpus_are_named_by_position_or_address(text: str, gpus: tuple[int, ...]) -> None:
    assert select_gpus(TOPOLOGY, text) == gpus


def test_gpus_are_named_by_slurms_index_where_it_is_known(tmp_path: Path) -> None:
    machine = Machine(gpus=(Device(0, minor=1), Device(0, minor=0)))
    root = machine.write(tmp_path)
    (root / "etc/slurm").mkdir(parents=True)
    (root / "etc/slurm/gres.conf").write_text("Name=gpu File=/dev/nvidia[0,1]\n")
    topology = read_at(root)
    assert [gpu.index for gpu in topology.gpus] == [1, 0]
    assert select_gpus(topology, "0") == (1,)


def test_gpus_are_named_by_the_beginning_of_a_uuid() -> None:
    topology = Machine(gpus=UUIDS).topology()
    assert select_gpus(topology, "GPU-aaaa1") == (1,)
    assert select_gpus(topology, "gpu-AAAA0000-1") == (0,)
    with pytest.raises(RequestError, match="2 GPUs have a UUID that begins"):
        select_gpus(topology, "GPU-aaaa")


def test_machine_without_gpus_says_so() -> None:
    with pytest.raises(RequestError, match="this machine has none"):
        select_gpus(Machine().topology(), "0")


def test_cpus_default_to_all_that_are_online() -> None:
    topology = Machine(cores=4, offline=(2,)).topology()
    assert select_cpus(topology, None) == (0, 1, 3)
    with pytest.raises(ClaimError, match="no CPU 2 is online"):
        select_cpus(topology, "0-2")


def test_closest_shows_a_task_the_gpus_near_its_share() -> None:
    placements = make_plan(TOPOLOGY, Request(2, (0, 1, 2, 3), TOPOLOGY.online, "closest")).placements
    assert [placement.gpus for placement in placements] == [(1, 2), (0, 3)]
    assert {placement.state for placement in placements} == {"aligned"}


def test_closest_with_a_task_a_gpu_counts_by_local_id() -> None:
    """As programs do, which are shown two GPUs each: two use the first, none the second, and so on."""
    placements = make_plan(TOPOLOGY, Request(4, (0, 1, 2, 3), TOPOLOGY.online, "closest")).placements
    assert [placement.gpus for placement in placements] == [(1,), (2,), (0,), (3,)]


def test_off_leaves_everything_and_tells_how_it_is_then() -> None:
    (one, two) = make_plan(TOPOLOGY, Request(2, (0, 1), TOPOLOGY.online, spec=Spec(on=False))).placements
    assert not one.binds_cpus and not one.sets_memory and one.policy == "default"
    assert (one.state, two.state) == ("unaligned", "unaligned")


@pytest.mark.parametrize(("tasks", "cpus"), [(0, (0,)), (5000, (0,)), (1, ())])
def test_what_cannot_be_a_step_is_refused(tasks: int, cpus: tuple[int, ...]) -> None:
    with pytest.raises(ClaimError):
        make_plan(TOPOLOGY, Request(tasks, (), cpus))


def test_picture_shows_cores_by_task_and_gpus_by_node() -> None:
    text = picture(SOCKETS, Request(4, (0, 1, 2, 3), (*range(1, 16), 17)))
    blocks = text.split("╭")
    assert "node 0, package 0, 64 GiB" in blocks[1]
    # Four cores for GPU 1, in the cache that has four left; three for GPU 2.
    assert "-222  1111" in blocks[1] and "GPU 1  0000:21:00.0  task 1" in blocks[1]
    assert "0000  3333" in blocks[2] and "GPU 0  0000:11:00.0  task 0" in blocks[2]
    assert "GPU 0" not in blocks[1]


def test_picture_marks_what_is_idle_shared_or_outside() -> None:
    # GPU 0's socket has no core in the step that it needs; one core has two tasks, one thread each.
    text = picture(SOCKETS, Request(2, (0,), (8, 24)))
    assert "*---  ----" in text
    text = picture(Machine(packages=2, cores=4, gpus=on_nodes(0)), Request(1, (0,), tuple(range(2, 8))))
    assert "--00" in text and "...." in text


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("tasks", [1, 10, 62, 63, 256])
def test_picture_fits_the_width_and_needs_no_colour(width: int, tasks: int) -> None:
    machine = Machine(packages=2, nodes=4, caches=4, cores=8, smt=2, gpus=on_nodes(3, 3, 1, 1, 7, 7, 5, 5))
    text = picture(machine, Request(tasks, tuple(range(8)), machine.topology().online), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text
    cores = "".join(re.findall(r"^│ ([0-9a-zA-Z. ]+?) *│$", text, re.MULTILINE))
    for task in range(tasks):
        assert mark(task, tasks) in cores


def test_marks_are_of_one_width_and_differ() -> None:
    for tasks in (1, 62, 63, 256, 4096):
        marks = {mark(task, tasks) for task in range(tasks)}
        assert len(marks) == tasks and len({len(shown) for shown in marks}) == 1


def test_picture_says_each_reason_once() -> None:
    text = picture(SOCKETS, Request(3, (1, 2), tuple(range(8, 16))))
    said = " ".join(text.split())
    assert said.count("this step has no CPU near its GPUs") == 1
    assert "Tasks 0-2 memory-only: this step" in said
