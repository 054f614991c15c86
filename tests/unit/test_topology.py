"""Machines that are built: what was built is what is read, oddities included."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from builder import MEMORY, Device, ExtraNode, Machine, on_nodes
from builder.strategies import machines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numa_align.placement.claim import ClaimMachine
from numa_align.topology.fingerprint import fingerprint
from numa_align.topology.read import read_at

GIB = 1 << 30


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(machines())
def test_what_was_built_is_what_is_read(machine: Machine) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        found = read_at(machine.write(Path(folder)))
    assert found._replace(warnings=()) == machine.topology()


def gpu_memory(*nodes: int, size: int = 16 * GIB) -> tuple[ExtraNode, ...]:
    return tuple(ExtraNode(node, size, "gpu-memory") for node in nodes)


ODDITIES = {
    "GPU order is not node order": Machine(packages=2, nodes=4, smt=2, gpus=on_nodes(3, 1, 7, 5)),
    "node order is not CPU order": Machine(packages=2, node_ids=(1, 0), gpus=on_nodes(0, 1)),
    "gaps in node numbers": Machine(packages=2, node_ids=(0, 8), smt=4, siblings_apart=False),
    "masks and no lists": Machine(packages=2, old_kernel=True, smt=2, gpus=on_nodes(1)),
    "no node directory": Machine(has_node_directory=False, gpus=on_nodes(0, source="only-node")),
    "offline CPUs": Machine(packages=2, smt=2, offline=(0, 3, 12), gpus=on_nodes(0, 1)),
    "a node without memory": Machine(packages=2, cpu_only_nodes=(1,), gpus=on_nodes(1)),
    "HBM or CXL": Machine(extra_nodes=(ExtraNode(1), ExtraNode(2)), gpus=on_nodes(0)),
    "GPU memory as on POWER9": Machine(
        packages=2,
        node_ids=(0, 8),
        extra_nodes=gpu_memory(252, 253, 254, 255),
        gpus=tuple(Device(node, memory_node=255 - i) for i, node in enumerate((0, 0, 8, 8))),
    ),
    "GPU memory and reserved nodes as on Grace": Machine(
        extra_nodes=(*gpu_memory(1), *gpu_memory(*range(2, 9), size=0)), gpus=(Device(0, memory_node=1),)
    ),
    "memory of MIG instances beside that of their GPU": Machine(
        extra_nodes=gpu_memory(*range(1, 9)), gpus=(Device(0, memory_node=1),)
    ),
    "a GPU on its own memory node": Machine(
        packages=2, extra_nodes=gpu_memory(2), gpus=(Device(2, memory_node=2),)
    ),
    "several and long PCI domains": Machine(
        packages=2,
        gpus=(
            Device(1, bdf="10000:00:04.0"),
            Device(0, bdf="0001:81:00.0"),
            Device(1, bdf="0000:81:00.0"),
            Device(0, bdf="abcd:81:00.0", minor=9),
        ),
    ),
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_odd_machine_is_read_right(oddity: str, tmp_path: Path) -> None:
    machine = ODDITIES[oddity]
    assert read_at(machine.write(tmp_path)) == machine.topology()


def test_without_numa_one_node_has_all_cpus_and_memory(tmp_path: Path) -> None:
    topology = read_at(Machine(has_node_directory=False, offline=(2,)).write(tmp_path))
    (node,) = topology.nodes
    assert (node.id, node.cpus, node.memory_bytes, node.kind) == (0, (0, 1, 3), 64 * GIB, "cpu")
    assert topology.distances == ((10,),)


def test_online_cpus_are_known_without_the_file_that_lists_them(tmp_path: Path) -> None:
    root = Machine(smt=2, offline=(5,)).write(tmp_path)
    (root / "sys/devices/system/cpu/online").unlink()
    assert read_at(root).online == (0, 1, 2, 3, 4, 6, 7)


def test_cpus_that_do_not_exist_are_in_no_list(tmp_path: Path) -> None:
    root = Machine(packages=2).write(tmp_path)
    (root / "sys/devices/system/cpu/online").write_text("0-63\n")
    (root / "sys/devices/system/node/node1/cpulist").write_text("4-400\n")
    topology = read_at(root)
    assert topology.online == tuple(range(8))
    assert topology.nodes[1].cpus == (4, 5, 6, 7)


def test_a_cpu_that_several_nodes_claim_is_counted_once(tmp_path: Path) -> None:
    root = Machine(packages=2).write(tmp_path)
    (root / "sys/devices/system/node/node1/cpulist").write_text("0-7\n")
    topology = read_at(root)
    assert {core.node for core in topology.cores} == {0, 1}
    assert [core.node for core in topology.cores[:4]] == [0] * 4
    assert any("several nodes claim CPUs 0-3" in warning for warning in topology.warnings)


def test_a_missing_row_of_distances_is_taken_from_the_column(tmp_path: Path) -> None:
    machine = Machine(packages=2, nodes=2)
    root = machine.write(tmp_path)
    (root / "sys/devices/system/node/node2/distance").unlink()
    (root / "sys/devices/system/node/node3/distance").write_text("10 20\n")
    distances = read_at(root).distances
    assert distances[0] == machine.distances[0]
    assert (distances[2][0], distances[2][2], distances[2][3]) == (32, 10, 20)


def test_memory_that_is_not_known_does_not_make_a_node_unfit(tmp_path: Path) -> None:
    root = Machine(packages=2, gpus=on_nodes(1)).write(tmp_path)
    (root / "sys/devices/system/node/node1/meminfo").unlink()
    topology = read_at(root)
    assert (topology.nodes[1].kind, topology.nodes[1].memory_bytes) == ("cpu", 0)
    assert topology.gpus[0].memory_nodes == (1,)


def test_memory_only_nodes_are_used_only_if_no_other_has_memory(tmp_path: Path) -> None:
    machine = Machine(
        packages=2,
        cpu_only_nodes=(0, 1),
        extra_nodes=(ExtraNode(2), ExtraNode(3)),
        matrix=((10, 21, 14, 24), (21, 10, 24, 14), (14, 24, 10, 28), (24, 14, 28, 10)),
        gpus=on_nodes(1, 0),
    )
    gpus = read_at(machine.write(tmp_path)).gpus
    assert [gpu.memory_nodes for gpu in gpus] == [(3,), (2,)]


def test_no_machine_at_all_is_an_empty_topology(tmp_path: Path) -> None:
    topology = read_at(tmp_path / "nothing")
    assert (topology.online, topology.cores, topology.gpus) == ((), (), ())
    assert topology.warnings == ("no online CPU can be found",)


@pytest.mark.parametrize("source", ["local_cpulist", "bridge"])
def test_minus_one_is_followed_to_what_is_known(source: str, tmp_path: Path) -> None:
    machine = Machine(packages=2, gpus=on_nodes(1, 0, source=source))
    topology = read_at(machine.write(tmp_path))
    assert [(gpu.node, gpu.source) for gpu in topology.gpus] == [(1, source), (0, source)]


def test_minus_one_is_not_node_0_where_there_are_two(tmp_path: Path) -> None:
    topology = read_at(Machine(packages=2, gpus=on_nodes(None, source="none")).write(tmp_path))
    (gpu,) = topology.gpus
    assert (gpu.node, gpu.source, gpu.cpus, gpu.memory_nodes) == (None, "none", (), ())
    (warning,) = topology.warnings
    assert "0000:11:00.0" in warning
    assert "override file" in warning


def test_minus_one_is_the_only_node_with_cpus_if_there_is_one(tmp_path: Path) -> None:
    machine = Machine(node_ids=(2,), extra_nodes=(ExtraNode(3),), gpus=on_nodes(2, source="only-node"))
    (gpu,) = read_at(machine.write(tmp_path)).gpus
    assert (gpu.node, gpu.source) == (2, "only-node")


def test_the_root_bus_counts_as_a_bridge(tmp_path: Path) -> None:
    root = Machine(packages=2, gpus=on_nodes(None, source="none")).write(tmp_path)
    bus = root / "sys/devices/pci0000:10/pci_bus/0000:10"
    bus.mkdir(parents=True)
    (bus / "cpulistaffinity").write_text("4-7\n")
    (gpu,) = read_at(root).gpus
    assert (gpu.node, gpu.source) == (1, "bridge")


def test_a_numa_node_that_does_not_exist_is_no_answer(tmp_path: Path) -> None:
    root = Machine(packages=2, gpus=on_nodes(1)).write(tmp_path)
    (root / "sys/bus/pci/devices/0000:11:00.0/numa_node").write_text("77\n")
    (gpu,) = read_at(root).gpus
    assert (gpu.node, gpu.source) == (1, "local_cpulist")


def _reboot(root: Path) -> None:
    (root / "proc/sys/kernel/random/boot_id").write_text("b6a5c7c0-0000-4000-8000-000000000000\n")


def _swap_minors(root: Path) -> None:
    gpus = sorted((root / "proc/driver/nvidia/gpus").iterdir())
    for gpu, minor in zip(gpus, (1, 0)):
        text = (gpu / "information").read_text()
        (gpu / "information").write_text(text.replace(f"Minor: \t {1 - minor}", f"Minor: \t {minor}"))


def _divide(root: Path) -> None:
    (root / "proc/driver/nvidia/capabilities/gpu0/mig/gi7").mkdir(parents=True)


def _remove_gpu(root: Path) -> None:
    (root / "sys/bus/pci/devices/0000:21:00.0").unlink()


def _unplug_cpu(root: Path) -> None:
    (root / "sys/devices/system/cpu/online").write_text("0-2\n")


@pytest.mark.parametrize("change", [_reboot, _swap_minors, _divide, _remove_gpu, _unplug_cpu])
def test_the_fingerprint_tells_that_the_machine_has_changed(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    root = Machine(gpus=on_nodes(0, 0)).write(tmp_path)
    before = fingerprint(root)
    change(root)
    assert fingerprint(root) != before


def test_the_fingerprint_stays_when_a_gpu_is_first_used(tmp_path: Path) -> None:
    root = Machine(gpus=on_nodes(0)).write(tmp_path)
    before = fingerprint(root)
    information = root / "proc/driver/nvidia/gpus/0000:11:00.0/information"
    information.write_text(information.read_text().replace("?", "1"))
    assert fingerprint(root) == before
    assert before.startswith("6fcd3ae3-")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from((10, 17, 20, 28)), min_size=16, max_size=16), st.integers(0, 3))
def test_topo_and_the_plugin_agree_on_the_nearest_cpus(slit: list[int], node: int) -> None:
    """A GPU on any node of any SLIT, also a node without CPUs that is as near to one node as to another."""
    built = Machine(
        packages=3,
        extra_nodes=(ExtraNode(3),),
        gpus=(Device(node),),
        matrix=[slit[at : at + 4] for at in (0, 4, 8, 12)],
    )
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        topology = read_at(built.write(Path(folder)))
    (gpu,) = topology.gpus
    own = ClaimMachine.of(topology).local_cpus(gpu.node)
    assert set(gpu.cpus) == (own if node == 3 else set(built.cpus_of_node(node)))
