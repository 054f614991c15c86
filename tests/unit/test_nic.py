"""Network cards and NVMe disks: which are found, of which kind they are, and how far from each GPU.

Independent words: nvidia-smi's own matrices, and hwloc's tree of bridges, which reads the same files with
code of its own.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Optional

import pytest
from builder import MEMORY, Card, Device, Machine, NvmeDisk, on_nodes
from builder.damage import damaged
from builder.recorded import answered, unanswered
from hypothesis import given
from hypothesis import strategies as st
from numa_align.names import PathWord
from numa_align.sysfs import Tree
from numa_align.topology.attached import path_between
from numa_align.topology.gpu.pci import route
from numa_align.topology.model import PATHS, Nic
from numa_align.topology.nic import read_nics, read_rdma_nics
from numa_align.topology.nvme import read_disks
from numa_align.topology.read import read_at

PORT = "pci0000:10/0000:10:01.0"
SWITCH = f"{PORT}/0000:11:00.0"


def nics_of(root: Path) -> tuple[Nic, ...]:
    return read_nics(Tree(root), read_at(root))


def paths_of(root: Path) -> list[tuple[PathWord, ...]]:
    """The classes of every card and disk."""
    disks = read_disks(Tree(root), read_at(root))
    return [nic.paths for nic in nics_of(root)] + [disk.paths for disk in disks]


def one(tmp_path: Path, *cards: Card) -> Nic:
    """The only card of a machine of two nodes."""
    (found,) = nics_of(Machine(packages=2, cards=cards).write(tmp_path))
    return found


# -- What there is ---------------------------------------------------------------------------


def test_an_infiniband_card_has_its_name_interface_ports_and_node(tmp_path: Path) -> None:
    card = Card("0000:12:00.0", PORT, node=1, rdma="mlx5_0", net="ib0", class_code=0x020700)
    assert one(tmp_path, card) == Nic(
        "0000:12:00.0", "mlx5_0", "infiniband", ("ib0",), (1,), True, None, None, 1, "numa_node", (),
        "/dev/infiniband/uverbs0",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["roce", "iwarp"])
def test_ethernet_with_an_rdma_device_is_for_rdma(tmp_path: Path, kind: str) -> None:
    nic = one(tmp_path, Card("0000:12:00.0", PORT, kind=kind, rdma="mlx5_0", net="eth0"))
    assert (nic.kind, nic.name, nic.for_rdma) == (kind, "mlx5_0", True)


def test_efa_is_known_by_its_driver(tmp_path: Path) -> None:
    nic = one(tmp_path, Card("0000:12:00.0", PORT, kind="efa", rdma="rdmap16s27", driver="efa"))
    assert (nic.kind, nic.name, nic.interfaces) == ("efa", "rdmap16s27", ())


def test_slingshot_has_its_cxi_name_and_its_interfaces_state(tmp_path: Path) -> None:
    card = Card("0000:12:00.0", PORT, kind="slingshot", rdma="cxi0", net="hsn0", driver="cxi_ss1")
    nic = one(tmp_path, card)
    assert (nic.kind, nic.name, nic.interfaces, nic.up) == ("slingshot", "cxi0", ("hsn0",), True)


def test_a_card_without_an_rdma_device_is_ethernet_by_its_interface(tmp_path: Path) -> None:
    nic = one(tmp_path, Card("0000:12:00.0", PORT, net="eno1", operstate="down"))
    assert (nic.kind, nic.name, nic.for_rdma, nic.up) == ("ethernet", "eno1", False, False)


def test_a_virtio_card_has_its_interface(tmp_path: Path) -> None:
    nic = one(tmp_path, Card("0000:12:00.0", PORT, net="eth0", virtio="virtio2", operstate="unknown"))
    assert (nic.interfaces, nic.up) == (("eth0",), None)


@pytest.mark.parametrize(
    ("class_code", "vendor", "device", "kind"),
    [
        (0x020700, 0x15B3, 0x1021, "infiniband"),
        (0x020800, 0x8086, 0x24F0, "infiniband"),
        (0x0C0600, 0x15B3, 0x6274, "infiniband"),
        (0x020000, 0x1D0F, 0xEFA1, "efa"),
        (0x020000, 0x17DB, 0x0501, "slingshot"),
        (0x020000, 0x15B3, 0x1021, "ethernet"),
    ],
)
def test_a_card_without_a_driver_has_its_class_and_no_name(
    tmp_path: Path, class_code: int, vendor: int, device: int, kind: str
) -> None:
    card = Card("0000:12:00.0", PORT, driver=None, class_code=class_code, vendor=vendor, device=device)
    nic = one(tmp_path, card)
    assert (nic.name, nic.kind, nic.up) == (None, kind, None)


def test_a_usb_controller_is_no_card(tmp_path: Path) -> None:
    assert nics_of(Machine(cards=[Card("0000:12:00.0", PORT, class_code=0x0C0330)]).write(tmp_path)) == ()


@pytest.mark.parametrize("states", [["1: DOWN"], ["2: INIT"], ["3: ARMED"], ["5: ACTIVE_DEFER"], [""]])
def test_a_port_that_is_not_active_is_not_up(tmp_path: Path, states: Sequence[str]) -> None:
    nic = one(tmp_path, Card("0000:12:00.0", PORT, rdma="mlx5_0", states=states))
    assert (nic.ports, nic.up) == ((), False)


def test_of_two_ports_the_active_one_counts(tmp_path: Path) -> None:
    nic = one(tmp_path, Card("0000:12:00.0", PORT, rdma="mlx4_0", states=["1: DOWN", "4: ACTIVE"]))
    assert (nic.ports, nic.up) == ((2,), True)


def test_a_virtual_function_names_its_physical_one(tmp_path: Path) -> None:
    physical = Card("0000:12:00.0", PORT, rdma="mlx5_0")
    virtual = Card("0000:12:00.1", PORT, rdma="mlx5_1", physfn="0000:12:00.0")
    found = nics_of(Machine(cards=(virtual, physical)).write(tmp_path))
    assert [(nic.name, nic.physical) for nic in found] == [("mlx5_0", None), ("mlx5_1", "0000:12:00.0")]


def test_a_subfunction_belongs_to_the_function_that_it_is_in(tmp_path: Path) -> None:
    nic = one(tmp_path, Card("0000:12:00.0", PORT, rdma="mlx5_3", subfunction="mlx5_core.sf.4"))
    assert (nic.bdf, nic.name, nic.physical) == ("0000:12:00.0", "mlx5_3", "0000:12:00.0")


def test_an_interface_in_a_bond_says_so_and_one_in_a_bridge_does_not(tmp_path: Path) -> None:
    bonded = Card("0000:12:00.0", PORT, kind="roce", rdma="mlx5_bond_0", net="eth0", bond="bond0")
    bridged = Card("0000:12:00.1", PORT, net="eth1", bridge="br0")
    found = nics_of(Machine(cards=(bonded, bridged)).write(tmp_path))
    assert [nic.bond for nic in found] == ["bond0", None]


def test_a_software_device_is_where_the_card_below_its_interface_is(tmp_path: Path) -> None:
    card = Card("0000:12:00.0", PORT, 1, "roce", "rxe0", "eth0", over=True, virtio="virtio2")
    nic = one(tmp_path, card)
    assert (nic.name, nic.bdf, nic.node, nic.kind) == ("rxe0", "0000:12:00.0", 1, "roce")


def test_a_device_of_no_card_is_left_out(tmp_path: Path) -> None:
    root = Machine().write(tmp_path)
    (root / "sys/class/infiniband").mkdir(parents=True)
    (root / "sys/class/infiniband/scif0").symlink_to("../../devices/virtual/infiniband/scif0")
    assert nics_of(root) == ()


def test_the_prolog_reads_rdma_cards_only_with_the_same_result(tmp_path: Path) -> None:
    cards = (
        Card("0000:12:00.0", PORT, rdma="mlx5_0"),
        Card("0000:13:00.0", PORT, net="eno1"),
        Card("0000:14:00.0", PORT, kind="slingshot", rdma="cxi0", net="hsn0"),
    )
    root = Machine(gpus=on_nodes(0), cards=cards).write(tmp_path)
    few = read_rdma_nics(Tree(root), read_at(root))
    assert [nic.name for nic in few] == ["mlx5_0", "cxi0"]
    assert set(few) <= set(nics_of(root))


def test_disks_have_name_model_and_node(tmp_path: Path) -> None:
    disks = (
        NvmeDisk("0000:20:00.0", "pci0000:20", 1, "nvme0", "Model 9"),
        NvmeDisk("0000:21:00.0", "pci0000:20", None),
    )
    root = Machine(packages=2, disks=disks).write(tmp_path)
    found = read_disks(Tree(root), read_at(root))
    assert [(disk.name, disk.model, disk.node, disk.source) for disk in found] == [
        ("nvme0", "Model 9", 1, "numa_node"),
        (None, None, None, "none"),
    ]


def test_a_disk_of_a_fabric_has_no_place_and_is_left_out(tmp_path: Path) -> None:
    root = Machine().write(tmp_path)
    (root / "sys/class/nvme").mkdir(parents=True)
    (root / "sys/class/nvme/nvme3").symlink_to("../../devices/virtual/nvme-fabrics/ctl/nvme3")
    assert read_disks(Tree(root), read_at(root)) == ()


def test_reading_the_machine_does_not_import_this() -> None:
    code = "import sys; import numa_align.topology.read, numa_align.hooks.prolog; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert not modules & {f"numa_align.topology.{name}" for name in ("nic", "nvme", "attached")}


# -- How far it is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu_way", "nic_way", "nic_node", "expected"),
    [
        (f"{SWITCH}/0000:12:00.0", f"{SWITCH}/0000:12:01.0", 0, "PIX"),
        (PORT, PORT, 0, "PIX"),
        (f"{SWITCH}/0000:12:00.0/0000:13:00.0/0000:14:00.0", f"{SWITCH}/0000:12:01.0", 0, "PXB"),
        (PORT, "pci0000:10/0000:10:02.0", 0, "PHB"),
        ("pci0000:10", "pci0000:10", 0, "PHB"),
        (PORT, "pci0000:20/0000:20:01.0", 0, "NODE"),
        (PORT, "pci0000:20/0000:20:01.0", 1, "SYS"),
        (PORT, "pci0000:20/0000:20:01.0", None, "SYS"),
        # One bus behind the same host bridge is what the wires are, whatever firmware says of nodes.
        (PORT, "pci0000:10/0000:10:02.0", 1, "PHB"),
        ("platform/soc/pci0000:10/0000:10:01.0", "platform/soc/pci0000:10/0000:10:02.0", 0, "PHB"),
        # Behind a VMD bridge is a domain of its own.
        (f"{PORT}/pci10000:00/10000:00:01.0", f"{PORT}/pci10000:00/10000:00:02.0", 0, "PIX"),
    ],
)
def test_how_far_a_card_is_from_a_gpu(
    tmp_path: Path, gpu_way: str, nic_way: str, nic_node: Optional[int], expected: str
) -> None:
    machine = Machine(
        packages=2,
        gpus=[Device(way=gpu_way, bdf="0000:50:00.0")],
        cards=[Card("0000:60:00.0", nic_way, nic_node)],
    )
    (nic,) = nics_of(machine.write(tmp_path))
    assert nic.paths == (expected,)


def test_a_function_whose_way_is_unknown_is_as_far_as_its_node(tmp_path: Path) -> None:
    machine = Machine(packages=2, gpus=on_nodes(0, 1), cards=[Card("0000:60:00.0", PORT, 1)])
    root = machine.write(tmp_path)
    link = root / "sys/bus/pci/devices/0000:60:00.0"
    target = link.resolve()
    link.unlink()
    target.rename(link)  # a tree that was copied without links
    (nic,) = nics_of(root)
    assert nic.paths == ("SYS", "NODE")


#: A tree of PCI: a host bridge has ports, a port has a function or a switch, a switch has ports.
_TREES = st.recursive(
    st.just("function"), lambda below: st.lists(below, min_size=1, max_size=3).map(tuple), max_leaves=8
)


def _ways(tree: object, prefix: tuple[str, ...], count: list[int]) -> list[tuple[tuple[str, ...], int]]:
    """The route of each function, with the number of switches above it."""
    count[0] += 1
    bus = f"{count[0]:02x}"
    if tree == "function":
        return [((*prefix, f"0000:{bus}:00.0"), 0)]
    up = (*prefix, f"0000:{bus}:00.0")
    assert isinstance(tree, tuple)
    found = []
    for port, below in enumerate(tree):
        for way, switches in _ways(below, (*up, f"0000:{bus}:{port + 1:02x}.0"), count):
            found.append((way, switches + 1))
    return found


@given(
    trees=st.lists(st.lists(_TREES, min_size=1, max_size=2), min_size=1, max_size=3), one_node=st.booleans()
)
def test_the_classes_of_generated_trees_are_what_the_legend_says(
    trees: list[list[object]], one_node: bool
) -> None:
    """By switches passed, counted while the tree was made, and not by the strings that came of it."""
    count = [0]
    functions = []
    for bridge, ports in enumerate(trees):
        for port, tree in enumerate(ports):
            way = (f"pci0000:{bridge + 0xE0:02x}", f"0000:{bridge + 0xE0:02x}:{port:02x}.0")
            functions += [(bridge, port, *found) for found in _ways(tree, way, count)]
    for a_bridge, a_port, a, a_depth in functions:
        for b_bridge, b_port, b, b_depth in functions:
            if a == b:
                continue
            said = path_between(a, b, one_node)
            assert said == path_between(b, a, one_node)
            if a_bridge != b_bridge:
                assert said == ("NODE" if one_node else "SYS")
            elif a_port != b_port:
                assert said == "PHB"
            elif a_depth == b_depth == 1:
                assert said == "PIX"
            else:
                assert said in ("PIX", "PXB")
                # Switches whose port up and port down both share are above the place where they meet.
                shared = sum(x == y for x, y in zip(a[2:], b[2:])) // 2
                assert (said == "PIX") == (max(a_depth, b_depth) - shared <= 1)


# -- nvidia-smi's own words ------------------------------------------------------------------


def matrix_of(listing: Path) -> tuple[list[str], dict[tuple[str, str], str], dict[str, str]]:
    """The devices of a listing, the word of each pair, and the NUMA affinity of each GPU."""
    lines = [line for line in listing.read_text().splitlines() if line.strip() and line[0] != "#"]
    names = [word for word in lines[0].split() if word.startswith(("GPU", "NIC", "mlx")) and word != "GPU"]
    words = {}
    affinity = {}
    for line in lines[1:]:
        cells = line.split()
        if cells[0] not in names:
            continue
        for other, word in zip(names, cells[1:]):
            words[cells[0], other] = word
        affinity[cells[0]] = " ".join(cells[1 + len(names) :])
    return names, words, affinity


def _clusters(names: Sequence[str], words: dict[tuple[str, str], str], near: Sequence[str]) -> dict[str, int]:
    """The group of each device: those joined, over others too, by words at least as near as these.

    Between two GPUs the listing has the link (NV12) instead, so that a card may be what joins them.
    """
    group = {name: number for number, name in enumerate(names)}
    for (a, b), word in words.items():
        if word in near:
            old, new = group[a], group[b]
            group = {name: new if its == old else its for name, its in group.items()}
    numbers = sorted(set(group.values()))
    return {name: numbers.index(its) + 1 for name, its in group.items()}


LISTINGS = (
    "2gpu-4nic-2node", "a100-interleaved-truncated", "dgx-a100-nps4-12nic", "dgx-h100-12nic",
    "dgx1-v100-no-numa-column", "gh200-1gpu", "power9-ac922-nodes-0-8", "hgx-4xa100-all-node1",
    "8x4090-all-sys",
)  # fmt: skip


@pytest.mark.parametrize("name", LISTINGS)
def test_every_nvidia_smi_matrix_matches_the_tree_it_describes(
    recorded: Path, tmp_path: Path, name: str
) -> None:
    """The listing has no sysfs beside it: a machine is wired as its words say, and must be read so again.

    That shows that the words are those of nvidia-smi's legend and that every real arrangement can be told;
    the wiring itself is judged by hwloc below, on the machines that have their sysfs.
    """
    names, words, _ = matrix_of(recorded / f"nvidia-smi-topo/{name}.txt")
    nodes = _clusters(names, words, ("PIX", "PXB", "PHB", "NODE"))
    bridges = _clusters(names, words, ("PIX", "PXB", "PHB"))
    ports = _clusters(names, words, ("PIX", "PXB"))
    switches = _clusters(names, words, ("PIX",))
    gpus, cards = [], []
    for number, device in enumerate(names):
        bridge, port, switch = bridges[device], ports[device], switches[device]
        way = (
            f"pci{bridge:04x}:00/{bridge:04x}:00:{port:02x}.0/{bridge:04x}:{port + 32:02x}:00.0/"
            f"{bridge:04x}:{port + 96:02x}:{switch:02x}.0/{bridge:04x}:{switch + 128:02x}:00.0/"
            f"{bridge:04x}:{switch + 160:02x}:{number % 32:02x}.0"
        )
        bdf = f"{bridge:04x}:{number + 192:02x}:00.0"
        if device.startswith("GPU"):
            gpus.append((device, Device(node=nodes[device] - 1, bdf=bdf, way=way)))
        else:
            cards.append((device, Card(bdf, way, nodes[device] - 1, rdma=device)))
    root = Machine(
        packages=max(nodes.values()), gpus=[gpu for _, gpu in gpus], cards=[card for _, card in cards]
    ).write(tmp_path)
    topology = read_at(root)
    name_of = {gpu.bdf: label for label, gpu in gpus}
    for nic in nics_of(root):
        assert nic.name is not None
        for gpu, path in zip(topology.gpus, nic.paths):
            assert path == words[name_of[str(gpu.bdf)], nic.name], (nic.name, gpu.bdf)


def test_a_gh200_with_sysfs_is_read_as_nvidia_smi_prints_it(recorded: Path) -> None:
    root = recorded / "derived-trees/gh200-480gb"
    names, words, _ = matrix_of(recorded / "nvidia-smi-topo/gh200-1gpu.txt")
    cards = [name for name in names if name.startswith("NIC")]
    found = nics_of(root)
    assert sorted(nic.paths for nic in found) == sorted((words["GPU0", card],) for card in cards)


# -- hwloc's words ---------------------------------------------------------------------------


#: The dumps that have the configuration space of bridges, without which hwloc knows none.
WITH_BRIDGES = (
    "32em64t-2n8c+dax+nvme+mic+dimms/32em64t-2n8c+1mic",
    "32intel64-2p8co2t+8ve/32intel64-2p8co2t+8ve",
    "40intel64-2g2n4c+pcilocality/40intel64-2g2n4c+pci",
)


def _hwloc_chains(root: Path) -> dict[str, tuple[str, ...]]:
    """The objects above each PCI function, outermost first: packages and nodes, host bridge, bridges."""
    command = ["lstopo-no-graphics", "--input", str(root), "--input-format", "fsroot", "--of", "xml"]
    done = subprocess.run(
        [*command, "--whole-io", "--no-caches", "-"], capture_output=True, text=True, check=True, timeout=60
    )
    chains: dict[str, tuple[str, ...]] = {}

    def walk(element: ET.Element, above: tuple[str, ...]) -> None:
        for child in element.findall("object"):
            kind = child.get("type", "")
            if kind == "PCIDev":
                chains[child.get("pci_busid", "")] = above
            elif kind == "Bridge":
                end = "host" if (child.get("bridge_type") or "").startswith("0") else "pci"
                walk(child, (*above, f"{end} {child.get('gp_index')}"))
            else:
                walk(child, above)

    walk(ET.fromstring(done.stdout), ())
    return chains


@pytest.mark.parametrize("machine", WITH_BRIDGES)
def test_the_path_of_all_functions_matches_hwlocs_bridges(recorded: Path, machine: str) -> None:
    """hwloc nests by the bus numbers in the bridges' configuration space; we by the kernel's directories."""
    if shutil.which("lstopo-no-graphics") is None:
        pytest.skip("lstopo is not installed (hwloc-nox)")
    root = recorded / "hwloc-linux" / machine
    chains = _hwloc_chains(root)
    ways = {bdf: route(Tree(root), bdf) for bdf in chains}
    seen = set()
    for a, b in itertools.combinations(chains, 2):
        path = path_between(ways[a], ways[b], same_node=True)
        common = sum(x == y for x, y in zip(chains[a], chains[b]))
        below = max(len(chains[a]), len(chains[b])) - common
        expected = "NODE" if common == 0 else "PHB" if common == 1 else "PIX" if below <= 1 else "PXB"
        assert path == expected, (a, b)
        seen.add(path)
    assert "PIX" in seen and len(seen) > 1


def test_every_recorded_machine_has_only_defined_words(recorded: Path) -> None:
    seen = 0
    for root in [*(root for root, _ in answered(recorded)), *unanswered(recorded)]:
        topology = read_at(root)
        for paths in paths_of(root):
            assert len(paths) == len(topology.gpus)
            assert set(paths) <= set(PATHS)
            seen += 1
    assert seen > 150


def test_recorded_cards_have_names_and_classless_disks_are_found(recorded: Path) -> None:
    root = next((recorded / "hwloc-linux/32em64t-2n8c+dax+nvme+mic+dimms").glob("*/sys")).parent
    named = {(nic.kind, nic.name, nic.interfaces) for nic in nics_of(root)}
    assert ("infiniband", "mlx4_0", ("ib0",)) in named
    assert ("ethernet", "eth0", ("eth0",)) in named
    assert [disk.bdf for disk in read_disks(Tree(root), read_at(root))] == ["0000:00:02.0"]


# -- Damage ----------------------------------------------------------------------------------


def test_damaged_files_of_cards_raise_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    cards = (
        Card("0000:12:00.0", PORT, rdma="mlx5_0", net="ib0", bond="bond0"),
        Card("0000:12:00.1", PORT, rdma="mlx5_1", physfn="0000:12:00.0"),
        Card("0000:14:00.0", PORT, kind="slingshot", rdma="cxi0", net="hsn0"),
    )
    machine = Machine(gpus=on_nodes(0), cards=cards, disks=[NvmeDisk("0000:20:00.0", PORT, 0, "nvme0")])
    base = Path(MEMORY) if MEMORY else tmp_path_factory.getbasetemp()
    root = machine.write(base / f"numa-align-nics-{id(machine)}")
    try:
        paths = sorted(path for path in root.glob("sys/[bc]*/**/*"))
        paths += sorted(path for path in (root / "sys/devices/pci0000:10").glob("**/*"))
        random = Random(1)
        for _ in range(200):
            with damaged(random.sample(paths, 3), random) as done:
                for words in paths_of(root):
                    assert set(words) <= set(PATHS), done
    finally:
        shutil.rmtree(root)
