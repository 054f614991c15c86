"""Which GPU is meant: every name that people and programs use, and the plugin's rules beside Python's."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import pytest
from builder import Device, Machine
from hypothesis import given
from hypothesis import strategies as st
from numa_align.errors import NumaAlignError
from numa_align.placement.plan import select_gpus
from numa_align.placement.table import format_table
from numa_align.placement.visible import visible_gpus
from numa_align.sysfs import Tree
from numa_align.topology.gpu.vendors import VENDORS
from numa_align.topology.model import Gpu, Topology
from numa_align.topology.read import read_at
from numa_align.topology.select import hides_all, listed_by_slurm, listed_for_runtime, repeats

PLACEMENT = Path(__file__).resolve().parents[2] / "spank/placement"
SAME_START = "aaaa"
UUIDS = [f"GPU-{SAME_START}{n}{n}{n}{n}-1111-2222-3333-444444444444" for n in range(3)]
UUIDS += ["GPU-b0b0b0b0-1111-2222-3333-444444444444"]
MIG = "MIG-77777777-2222-3333-4444-555555555555"


def with_gpus(*uuids: Optional[str], index: Optional[Sequence[int]] = None) -> Topology:
    topology = Machine(packages=2, gpus=[Device(uuid=uuid) for uuid in uuids]).topology()
    gpus = tuple(
        gpu._replace(index=None if index is None else index[n]) for n, gpu in enumerate(topology.gpus)
    )
    return Topology(topology.online, topology.nodes, topology.distances, topology.cores, gpus)


NUMBERED = with_gpus(*UUIDS, index=(2, 3, 0, 1))
UNNUMBERED = with_gpus(*UUIDS)


# -- What people write -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("0", (2,)),
        ("0-1", (2, 3)),
        ("GPU-b0b0", (3,)),
        ("gpu-B0B0", (3,)),
        (f"MIG-{UUIDS[1]}/1/0", (1,)),
        (f"MIG-{UUIDS[1]}/1/0,MIG-{UUIDS[1]}/2/0", (1,)),
    ],
)
def test_people_name_gpus_by_number_range_uuid_or_instance(text: str, positions: tuple[int, ...]) -> None:
    assert select_gpus(NUMBERED, text) == positions


@pytest.mark.parametrize("text", ["10000:01:00.0", "00010000:01:00.0", "10000:1:0.0"])
def test_an_address_may_have_a_long_domain(text: str) -> None:
    topology = Machine(gpus=[Device(bdf="0000:01:00.0"), Device(bdf="10000:01:00.0")]).topology()
    assert select_gpus(topology, text) == (1,)


def divided(tmp_path: Path, *instances: tuple[int, ...]) -> Topology:
    devices = [Device(uuid=uuid, mig_instances=own) for uuid, own in zip(UUIDS, instances)]
    return read_at(Machine(gpus=devices).write(tmp_path))


def test_an_instance_is_of_the_only_gpu_that_has_some(tmp_path: Path) -> None:
    topology = divided(tmp_path, (), (1, 2))
    assert select_gpus(topology, MIG, Tree(tmp_path)) == (1,)
    assert [gpu.bdf for gpu in visible(topology, MIG, tree=Tree(tmp_path))] == [topology.gpus[1].bdf]


def test_an_instance_whose_gpu_nobody_knows_is_said_to_be_so(tmp_path: Path) -> None:
    topology = divided(tmp_path, (1,), (1,))
    with pytest.raises(NumaAlignError, match=r"MIG instance.*name the GPU instead"):
        select_gpus(topology, MIG, Tree(tmp_path))


@pytest.mark.parametrize("text", ["GPU-aaaa", "9", "2-9", "GPU-", "none", "", "1-0", "0x1"])
def test_what_names_no_gpu_or_several_is_a_line(text: str) -> None:
    with pytest.raises(NumaAlignError, match=r"^--gpus: ") as raised:
        select_gpus(NUMBERED, text)
    assert "\n" not in str(raised.value)


# -- What runtimes are told ------------------------------------------------------------------


def visible(
    topology: Topology, text: str, closed: Sequence[int] = (), tree: Optional[Tree] = None
) -> tuple[Gpu, ...]:
    shut = {topology.gpus[gpu].device for gpu in closed}
    environment = {"CUDA_VISIBLE_DEVICES": text}
    more = {} if tree is None else {"tree": tree}
    return visible_gpus(topology.gpus, environment, lambda device: device not in shut, **more)


@pytest.mark.parametrize(
    ("text", "closed", "positions"),
    [
        ("", (), ()),
        ("-1", (), ()),
        ("-1,0", (), ()),
        ("0", (), (2,)),  # Slurm's index, as some of many that may be opened
        ("0,1", (0, 2), (1, 3)),  # what may be opened, counted from 0
        ("1,0", (0, 2), (3, 1)),
        ("3,2,1,0", (), (3, 2, 1, 0)),
        ("0,1,2,3,0", (), ()),  # as test_torch.py has it from PyTorch
        (" 3, 2 ,1,0", (), (3, 2, 1, 0)),
        # As the driver 580.159 read them on two H100 cards.
        ("\t3,+2,1x,0x0", (), (3, 2, 1, 0)),
        ("3 1", (), (1,)),
        ("3,,1", (), (1,)),
        ("3,-1,1", (), (1,)),
        ("3,GPU-b0b0,1", (), (1,)),
        ("GPU-b0b0,3", (), (3,)),
        (f"{UUIDS[3]}x,{UUIDS[0]} ", (), (3, 0)),
        (f"{UUIDS[3]}, {UUIDS[0]}", (), (3,)),
        (f"{UUIDS[3]},{UUIDS[0].lower()}", (), (3,)),
        (f"0,{UUIDS[3]},{UUIDS[3]}", (), (2,)),
        ("0,00", (), ()),
        ("GPU-b0b0,GPU-aaaa1,nonsense,GPU-aaaa0", (), (3, 1)),
        ("GPU-aaaa", (), (0, 1, 2, 3)),
        ("NoDevFiles", (), (0, 1, 2, 3)),
        ("GPU-b0b0", (3,), (0, 1, 2)),
        (f"MIG-{UUIDS[2]}/1/0", (), (2,)),
    ],
)
def test_a_list_is_read_as_the_runtime_reads_it(
    text: str, closed: tuple[int, ...], positions: tuple[int, ...]
) -> None:
    assert visible(NUMBERED, text, closed) == tuple(NUMBERED.gpus[p] for p in positions)


def test_numbers_count_by_address_where_slurm_has_none() -> None:
    assert visible(UNNUMBERED, "2") == (UNNUMBERED.gpus[2],)


# -- The plugin beside it --------------------------------------------------------------------


class Plugin:
    """The plugin's own reader of lists."""

    def __init__(self, folder: Path) -> None:
        path = folder / "lists.so"
        files = [str(file) for file in sorted(PLACEMENT.glob("*.c"))]
        command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-O1", "-o", str(path), *files]
        subprocess.run(command, check=True)
        self.library = ctypes.CDLL(str(path))
        self.library.na_table_parse.restype = ctypes.c_void_p
        self.library.na_gpu_list_hides_all.restype = ctypes.c_bool
        self.library.na_gpu_list_repeats.restype = ctypes.c_bool
        self.library.na_visible_variable.restype = ctypes.c_char_p
        self.library.na_inner_variables.restype = ctypes.POINTER(ctypes.c_char_p)

    def read(
        self, topology: Topology, text: str, among: Optional[Sequence[int]], *, of_runtime: bool
    ) -> tuple[int, ...]:
        table = format_table(topology, 1).encode()
        error = ctypes.create_string_buffer(256)
        machine = self.library.na_table_parse(table, ctypes.c_size_t(len(table)), error, ctypes.c_size_t(256))
        assert machine, error.value
        found = (ctypes.c_int * 256)()
        chosen = (ctypes.c_int * max(1, len(among or ())))(*(among or ()))
        count = self.library.na_gpu_list(
            ctypes.c_void_p(machine), text.encode(), None if among is None else chosen,
            len(among or ()), ctypes.c_bool(of_runtime), found,
        )  # fmt: skip
        self.library.na_machine_free(ctypes.c_void_p(machine))
        return tuple(found[:count])


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    return Plugin(tmp_path_factory.mktemp("lists"))


NUMBERS = [
    "\t0",
    "0x1",
    "+0",
    "-0",
    "- 1",
    "1 2",
    "4294967296",
    "0",
    "1",
    "2",
    "3",
    "4",
    "007",
    "99999999",
    "-1",
    "",
    " 1",
    "2 ",
    "+1",
    "1x",
    "0-1",
    "0000:11:00.0",
]
NAMES = [
    " GPU-b0b0",
    "GPU-b0b0 ",
    f"{UUIDS[3]}x",
    "GPU-",
    "GPU-aaaa",
    "GPU-b0b0",
    "gpu-B0B0",
    "GPU-aaaa1",
    "GPU-no",
    "NoDevFiles",
    *UUIDS,
]
INSTANCES = [MIG, f"MIG-{UUIDS[2]}/1/0", "MIG-GPU-aaaa/0/0", "MIG-GPU-", "MIG-"]
ENTRIES = st.sampled_from([*NUMBERS, *NAMES, *INSTANCES])
LISTS = st.lists(ENTRIES, min_size=1, max_size=6).map(",".join)


@given(
    text=LISTS,
    topology=st.sampled_from([NUMBERED, UNNUMBERED]),
    among=st.none() | st.lists(st.integers(0, 3), unique=True, max_size=4),
)
def test_plugin_and_python_read_a_runtimes_list_alike(
    plugin: Plugin, text: str, topology: Topology, among: Optional[list[int]]
) -> None:
    order = {gpu.bdf: position for position, gpu in enumerate(topology.gpus)}
    chosen = None if among is None else [topology.gpus[position] for position in among]
    mine = tuple(order[gpu.bdf] for gpu in listed_for_runtime(text, topology.gpus, chosen, lambda _: None))
    assert plugin.read(topology, text, among, of_runtime=True) == mine


@given(text=LISTS, topology=st.sampled_from([NUMBERED, UNNUMBERED]))
def test_plugin_and_python_read_slurms_list_alike(plugin: Plugin, text: str, topology: Topology) -> None:
    order = {gpu.bdf: position for position, gpu in enumerate(topology.gpus)}
    mine = tuple(order[gpu.bdf] for gpu in listed_by_slurm(text, topology.gpus))
    assert plugin.read(topology, text, None, of_runtime=False) == mine


@pytest.mark.parametrize("same", [2, 3, 4])
def test_a_start_that_several_uuids_share_names_none(plugin: Plugin, same: int) -> None:
    topology = with_gpus(*(f"GPU-cccc{n}" for n in range(same)))
    assert plugin.read(topology, "GPU-cccc", None, of_runtime=True) == ()
    assert listed_for_runtime("GPU-cccc", topology.gpus, None, lambda _: None) == ()


HIDING = ["", " ", "-1", " -1 ", "-1,0", " -1 ,0"]


@pytest.mark.parametrize("text", [*HIDING, "0,-1", "0", "-10", "-", ",", ",-1", "GPU-a"])
def test_plugin_and_python_agree_on_what_hides_every_gpu(plugin: Plugin, text: str) -> None:
    assert plugin.library.na_gpu_list_hides_all(text.encode()) == hides_all(text)


@given(text=LISTS)
def test_plugin_and_python_agree_on_what_is_named_twice(plugin: Plugin, text: str) -> None:
    assert plugin.library.na_gpu_list_repeats(text.encode()) == repeats(text)


@pytest.mark.parametrize(
    ("text", "twice"),
    [
        ("0,0", True),
        ("1,0, 01", True),
        (f"{UUIDS[0]},{UUIDS[0].upper()}", True),
        (f"{UUIDS[0]},{UUIDS[0].lower()}", False),
        (f"MIG-{UUIDS[1]}/1/0,MIG-{UUIDS[1]}/2/0", False),
        ("0,-1,0", False),
        ("0,x,0", False),
        (",,", False),
    ],
)
def test_an_entry_twice_before_an_invalid_one_repeats(plugin: Plugin, text: str, twice: bool) -> None:
    assert plugin.library.na_gpu_list_repeats(text.encode()) == repeats(text) == twice


@pytest.mark.parametrize("vendor", sorted(VENDORS))
def test_plugin_and_python_have_one_variable_for_a_vendor(plugin: Plugin, vendor: str) -> None:
    assert plugin.library.na_visible_variable(vendor.encode()).decode() == VENDORS[vendor].visible
    names = plugin.library.na_inner_variables(vendor.encode())
    count = next(number for number in range(9) if not names[number])
    assert tuple(names[number].decode() for number in range(count)) == VENDORS[vendor].inner


@pytest.mark.parametrize("vendor", ["huawei", "cambricon", "moorethreads-gpu"])
def test_a_vendor_with_a_long_name_does_not_cost_the_table(plugin: Plugin, vendor: str) -> None:
    one = UNNUMBERED.gpus[0]
    gpus = (one._replace(vendor=vendor), *UNNUMBERED.gpus[1:])
    topology = Topology(UNNUMBERED.online, UNNUMBERED.nodes, UNNUMBERED.distances, UNNUMBERED.cores, gpus)
    assert plugin.read(topology, UUIDS[3], None, of_runtime=True) == (3,)
