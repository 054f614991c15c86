"""A binding in the words of other tools, and which GPUs sit best together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from builder import Device, Machine, on_nodes
from click.testing import CliRunner
from numa_align.cli.gpus import command as gpus_command
from numa_align.cli.show import command as show_command
from numa_align.errors import NumaAlignError, RequestError
from numa_align.placement.choose_gpus import choose
from numa_align.view.export import TOOLS, reserved_cpus

TWO = Machine(packages=2, cores=4, smt=2, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1), memory_bytes=64 << 30)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(TWO.write(tmp_path_factory.mktemp("two")))


def shown(root: str, gpus: str, tool: str, *more: str) -> str:
    """What is printed for the tool; the notes are in the JSON."""
    words = ["--root", root, "--gpus", gpus, "--as", tool, "--json", *more]
    result = CliRunner().invoke(show_command, words, catch_exceptions=False)
    text: str = json.loads(result.output)["text"]
    return text


def test_options_of_each_tool(root: str) -> None:
    assert shown(root, "5", "numactl") == "--physcpubind=4-7,12-15 --preferred-many=1"
    assert shown(root, "0,5", "numactl").endswith("--preferred-many=0-1")
    assert shown(root, "5", "numactl", "--numa-align", "mem=bind").endswith("--membind=1")
    assert shown(root, "5", "taskset") == "--cpu-list 4-7,12-15"
    assert shown(root, "5", "docker") == "--cpuset-cpus=4-7,12-15 --cpuset-mems=1 --gpus device=5"
    assert shown(root, "4,5", "docker").endswith("--gpus '\"device=4,5\"'")
    assert shown(root, "4", "podman").endswith("--cpuset-mems=1 --device=nvidia.com/gpu=4")
    assert shown(root, "5", "systemd").splitlines()[1:] == [
        "CPUAffinity=4-7,12-15", "NUMAPolicy=preferred", "NUMAMask=1",
    ]  # fmt: skip
    assert "export NUMA_ALIGN_CPUS=4-7,12-15" in shown(root, "5", "env")


def test_an_amd_gpu_goes_into_a_container_as_device_files(tmp_path: Path) -> None:
    machine = Machine(gpus=(Device(0, vendor=0x1002, device=0x740C, driver="amdgpu"),))
    text = shown(str(machine.write(tmp_path)), "0", "docker")
    assert "--device=/dev/kfd --device=/dev/dri/renderD128" in text and "--gpus" not in text


def test_kubernetes_reserves_whole_cores_of_each_node_and_pods_for_all_gpus_fit(
    root: str, tmp_path: Path
) -> None:
    nine = replace(TWO, cores=9)
    assert reserved_cpus(nine.topology()) == (0, 9, 18, 27)
    text = shown(str(nine.write(tmp_path)), "0", "kubernetes")
    assert 'reservedSystemCPUs: "0,9,18,27"' in text and "topologyManagerPolicy: single-numa-node" in text
    cpu = int(text.partition('cpu: "')[2].partition('"')[0])
    memory = int(text.partition("memory: ")[2].partition("Mi")[0])
    # Eight cores of two threads are left for four GPUs.
    assert cpu * 4 == 16 and memory * 4 <= 64 * 1024
    assert "topologyManagerPolicy: restricted" in shown(root, "0,7", "kubernetes")


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_has_something_to_say_for_gpus_of_two_nodes(root: str, tool: str) -> None:
    assert shown(root, "3,4", tool)


def test_an_unknown_gpu_and_a_machine_without_gpus_are_a_line(root: str, tmp_path: Path) -> None:
    for place, says in (
        (root, "there is no GPU '9'"),
        (str(Machine().write(tmp_path)), "this machine has none"),
    ):
        with pytest.raises(NumaAlignError, match=says):
            shown(place, "9", "docker")


def test_a_pod_has_a_core_at_least_and_it_is_said_if_not_all_gpus_can_have_one(root: str) -> None:
    words = ["--root", root, "--gpus", "0", "--as", "kubernetes", "--json"]
    data = json.loads(CliRunner().invoke(show_command, words, catch_exceptions=False).output)
    # Three cores of two threads are left on its node, for four GPUs.
    assert 'cpu: "2"' in data["text"] and any("fewer cores" in note for note in data["notes"])


def test_a_gpu_of_which_nobody_knows_the_node_is_not_said_to_be_on_one(tmp_path: Path) -> None:
    lost = str(Machine(packages=2, gpus=on_nodes(None, None, source="none")).write(tmp_path))
    text = CliRunner().invoke(gpus_command, ["--root", lost, "2"], catch_exceptions=False).output
    assert "nothing says which node they are on" in text and "None" not in text and "all on" not in text
    assert "--cpuset-mems" not in shown(lost, "0", "docker")
    with pytest.raises(RequestError, match="no Pod can be made to fit"):
        shown(lost, "0", "kubernetes")


def best(machine: Machine, count: int, switches: str = "") -> tuple[int, ...]:
    topology = machine.topology()
    letters = switches or "".join(chr(ord("a") + i) for i in range(len(topology.gpus)))
    bridges = {gpu.bdf: ("pci0000:00", switch) for gpu, switch in zip(topology.gpus, letters)}
    order = {gpu.bdf: i for i, gpu in enumerate(topology.gpus)}
    return tuple(order[gpu.bdf] for gpu in choose(topology, count, topology.gpus, bridges).gpus)


def test_two_and_four_are_on_one_node_and_more_are_divided_evenly() -> None:
    assert best(TWO, 2) == (0, 1)
    assert best(TWO, 4) == (0, 1, 2, 3)
    assert best(TWO, 6) == (0, 1, 2, 4, 5, 6)
    assert best(TWO, 8) == tuple(range(8))


def test_gpus_behind_one_switch_come_first() -> None:
    assert best(TWO, 2, "abbccddd") == (1, 2)
    assert best(TWO, 3, "aabbcccd") == (0, 1, 2)


def test_the_smaller_node_is_not_left_for_the_lower_number() -> None:
    assert best(Machine(packages=2, gpus=on_nodes(0, 1, 1)), 2) == (1, 2)


def test_near_nodes_are_taken_before_far_ones() -> None:
    assert best(Machine(packages=2, nodes=2, gpus=on_nodes(0, 2, 3)), 2) == (1, 2)


def test_too_many_and_none_are_a_line() -> None:
    with pytest.raises(RequestError, match="there are 8 GPUs"):
        best(TWO, 9)
    with pytest.raises(RequestError, match="no GPU"):
        best(Machine(), 1)


def test_the_first_line_is_a_list_for_other_commands(root: str) -> None:
    result = CliRunner().invoke(gpus_command, ["--root", root, "5"], catch_exceptions=False)
    assert result.output.splitlines()[0] == "0,1,2,4,5"
    assert "no node has 5 GPUs" in result.output and "4 would be" in result.output
