"""Which network cards each task has: for generated machines, for recorded ones, and worked out by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builder import Machine, on_nodes
from builder.recorded import answered, unanswered
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from numa_align import _claim, names
from numa_align.cli.gpus import command as gpus_command
from numa_align.errors import TableError
from numa_align.names import PathWord, Visible
from numa_align.placement.claim import ClaimMachine as Claimed
from numa_align.placement.claim import Placement, Step, Task, read_spec
from numa_align.placement.decide import Decision, decide
from numa_align.placement.decide import ProcessRequest as DecideRequest
from numa_align.placement.own import Own
from numa_align.placement.plan import Request, make_plan
from numa_align.placement.table import MAX_NICS, format_table
from numa_align.sysfs import Tree
from numa_align.topology.model import NIC_KINDS, PATHS, Nic, Topology
from numa_align.topology.nic import read_nics
from numa_align.topology.read import read_at
from unit.nics import check_dealt, check_even, check_nearest, choosable, hgx, machines_with_nics


def plan(topology: Topology, tasks: int, visible: Visible = "all") -> tuple[Placement, ...]:
    gpus = tuple(range(len(topology.gpus)))
    return make_plan(topology, Request(tasks, gpus, topology.online, visible)).placements


def nics(topology: Topology, tasks: int, visible: Visible = "all") -> list[str]:
    return [",".join(placement.nics) for placement in plan(topology, tasks, visible)]


# -- Any machine -----------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(machines_with_nics(), st.integers(1, 12), st.sampled_from(("all", "each", "closest")))
def test_every_task_has_the_nearest_cards_and_none_idles(
    topology: Topology, tasks: int, visible: Visible
) -> None:
    placed = plan(topology, tasks, visible)
    check_nearest(topology, placed)
    check_dealt(topology, placed)
    check_even(placed)
    assert placed == plan(topology, tasks, visible)


@settings(max_examples=50, deadline=None)
@given(machines_with_nics())
def test_the_table_has_exactly_the_cards_among_which_tasks_choose(topology: Topology) -> None:
    machine = Claimed.of(topology)
    good = [
        nic.name for nic in topology.nics if nic.for_rdma and nic.up and not nic.physical and not nic.bond
    ]
    assert list(machine.nics) == (good if topology.gpus else [])
    assert set(machine.nics) >= {nic.name for nic in choosable(topology) if topology.gpus}


@settings(max_examples=50, deadline=None)
@given(machines_with_nics(), st.integers(1, 8), st.data())
def test_what_the_step_may_not_use_nobody_gets(topology: Topology, tasks: int, data: st.DataObject) -> None:
    usable = tuple(data.draw(st.sets(st.sampled_from([nic.name or "" for nic in topology.nics] or [""]))))
    machine, gpus = Claimed.of(topology), tuple(range(len(topology.gpus)))
    step = Step(topology.online, (), tasks, gpus, nics=usable)
    placed = [machine.place(step, Task(task, gpus, topology.online)) for task in range(tasks)]
    left = topology._replace(nics=tuple(nic for nic in topology.nics if nic.name in usable))
    check_nearest(left, placed)
    check_dealt(left, placed)


@settings(max_examples=50, deadline=None)
@given(machines_with_nics(), st.integers(1, 8))
def test_a_task_that_knows_only_itself_has_the_nearest_too(topology: Topology, tasks: int) -> None:
    machine, gpus = Claimed.of(topology), tuple(range(len(topology.gpus)))
    step = Step(topology.online, (), tasks, gpus)
    placed = [
        machine.place(step, Task(task, gpus[task : task + 1], topology.online))
        for task in range(min(tasks, len(gpus)))
    ]
    check_nearest(topology, placed)


def test_the_words_are_the_same_in_python_and_c() -> None:
    def words(name: object) -> tuple[str, ...]:
        texts = (_claim.ffi.string(name(number)).decode() for number in itertools.count())  # type: ignore[operator]
        return tuple(itertools.takewhile(bool, texts))

    assert words(_claim.lib.na_path_name) == PATHS
    assert words(_claim.lib.na_fabric_name) == NIC_KINDS[:-1]


# -- Recorded machines -----------------------------------------------------------------------


def test_recorded_machines_with_cards_keep_every_promise(recorded: Path) -> None:
    seen = 0
    for root in [*(root for root, _ in answered(recorded)), *unanswered(recorded)]:
        topology = read_at(root)
        if not topology.gpus:
            continue
        # Recordings have no state of a port, and many no driver: taken as if all cards were up.
        cards = tuple(
            nic._replace(name=nic.name or f"hca{number}", up=True, physical=None, bond=None, kind="roce")
            for number, nic in enumerate(read_nics(Tree(root), topology))
        )
        if not cards:
            continue
        topology = topology._replace(nics=cards)
        for tasks in {1, 2, len(topology.gpus), 2 * len(topology.gpus)}:
            placed = plan(topology, tasks)
            check_nearest(topology, placed)
            check_dealt(topology, placed)
            check_even(placed)
            assert all(placement.nics for placement in placed)
        seen += 1
    assert seen > 25


# -- Worked out by hand ----------------------------------------------------------------------


def test_each_gpu_with_a_card_of_its_own(tmp_path: Path) -> None:
    topology = hgx(tmp_path, range(8))
    assert nics(topology, 8) == [f"mlx5_{n}" for n in range(8)] == nics(topology, 8, "each")
    assert nics(topology, 4)[1] == "mlx5_2,mlx5_3"
    assert nics(topology, 2)[1] == "mlx5_4,mlx5_5,mlx5_6,mlx5_7"


def test_two_tasks_of_one_gpu_share_its_card(tmp_path: Path) -> None:
    assert nics(hgx(tmp_path, range(8)), 16) == [f"mlx5_{n % 8}" for n in range(16)]


def test_four_cards_of_eight_gpus_each_have_two(tmp_path: Path) -> None:
    """GPU 1 is as near to card 0 as to card 2, and GPU 0 is nearer to card 0: so are all pairs."""
    assert nics(hgx(tmp_path, (0, 2, 4, 6)), 8) == [f"mlx5_{n}" for n in (0, 0, 2, 2, 4, 4, 6, 6)]


def test_two_tasks_of_four_equal_cards_have_two_each() -> None:
    topology = Machine(packages=1, cores=8, gpus=on_nodes(0, 0)).topology()
    cards = tuple(
        Nic(f"0000:0{n}:01.0", f"mlx5_{n}", "roce", (), (1,), True, None, None, 0, "numa_node", ("NODE",) * 2)
        for n in range(4)
    )
    assert nics(topology._replace(nics=cards), 2) == ["mlx5_0,mlx5_1", "mlx5_2,mlx5_3"]


def test_somebody_steps_aside_so_that_no_card_idles() -> None:
    """GPU 0 is as near to cards 0 and 1, GPU 1 only to card 0: GPU 0 takes card 1, though 0 comes first."""
    topology = Machine(packages=1, cores=8, gpus=on_nodes(0, 0)).topology()
    ways: list[tuple[PathWord, ...]] = [("PHB", "PIX"), ("PHB", "PHB")]
    cards = tuple(
        Nic(f"0000:0{n}:01.0", f"mlx5_{n}", "roce", (), (1,), True, None, None, 0, "numa_node", paths)
        for n, paths in enumerate(ways)
    )
    assert nics(topology._replace(nics=cards), 2) == ["mlx5_1", "mlx5_0"]


@pytest.mark.parametrize(
    "fields", [{"states": ["1: DOWN"]}, {"physfn": "0000:01:00.0"}, {"net": "eth0", "bond": "bond0"}]
)
def test_what_is_down_virtual_or_in_a_bond_is_not_chosen(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert nics(hgx(tmp_path, (0,), **fields), 8) == [""] * 8


def test_a_storage_ethernet_card_is_not_chosen_beside_infiniband(tmp_path: Path) -> None:
    """However near it is, a task with it could not reach those with InfiniBand."""
    infiniband, roce = hgx(tmp_path / "a", (0, 4)), hgx(tmp_path / "b", (1, 5), kind="roce")
    topology = infiniband._replace(nics=(*infiniband.nics, *roce.nics))
    assert nics(topology, 8) == ["mlx5_0"] * 4 + ["mlx5_4"] * 4


def test_across_nodes_the_nearer_node_counts() -> None:
    """Four nodes in two packages: the card of the other node in the package, not that of the other one."""
    topology = Machine(packages=2, nodes=2, cores=4, gpus=on_nodes(1)).topology()
    cards = tuple(
        Nic(f"0000:0{n}:01.0", f"mlx5_{n}", "roce", (), (1,), True, None, None, n, "numa_node", ("SYS",))
        for n in (3, 0, 2)
    )
    assert nics(topology._replace(nics=cards), 1) == ["mlx5_0"]


def test_the_variable_names_them_and_is_not_there_without_any(tmp_path: Path) -> None:
    topology = hgx(tmp_path, range(8))
    machine, gpus = Claimed.of(topology), tuple(range(8))
    step = Step(topology.online, (0, 1), 4, gpus)
    placement = machine.place(step, Task(1, gpus, topology.online))
    assert machine.variables(step, placement)[names.NICS] == "mlx5_2,mlx5_3"
    step = Step(topology.online, (0, 1), 4, gpus, nics=())
    assert machine.variables(step, machine.place(step, Task(1, gpus, topology.online)))[names.NICS] is None


def test_gpus_names_the_cards_beside_them(tmp_path: Path) -> None:
    hgx(tmp_path, range(8))
    done = CliRunner().invoke(gpus_command, ["2", "--root", str(tmp_path), "--json"])
    assert json.loads(done.output)["nics"] == ["mlx5_0", "mlx5_1"]
    shown = CliRunner().invoke(gpus_command, ["2", "--root", str(tmp_path)]).output
    assert "network cards nearest to them: mlx5_0, mlx5_1" in shown


# -- Libraries -------------------------------------------------------------------------------


def libraries(topology: Topology, tasks: int, task: int) -> dict[str, str]:
    placement = plan(topology, tasks)[task]
    return Claimed.of(topology).libraries(placement)


@pytest.mark.parametrize("kind", ["infiniband", "roce"])
def test_ucx_is_told_the_cards_with_their_active_ports(tmp_path: Path, kind: str) -> None:
    topology = hgx(tmp_path, range(8), kind=kind, states=("1: DOWN", "4: ACTIVE"))
    assert libraries(topology, 8, 3) == {"UCX_NET_DEVICES": "mlx5_3:2"}
    assert libraries(topology, 4, 1) == {"UCX_NET_DEVICES": "mlx5_2:2,mlx5_3:2"}


def test_cray_mpich_is_told_to_go_by_nodes_where_the_task_is_on_one(tmp_path: Path) -> None:
    topology = hgx(tmp_path, range(8), kind="slingshot")
    assert libraries(topology, 8, 3) == {"MPICH_OFI_NIC_POLICY": "NUMA"}
    assert libraries(topology, 1, 0) == {}, "the policy is for a rank on one node"


@pytest.mark.parametrize("kind", ["efa", "iwarp"])
def test_other_fabrics_set_nothing(tmp_path: Path, kind: str) -> None:
    topology = hgx(tmp_path, range(8), kind=kind, driver=kind)
    assert plan(topology, 8)[3].nics == ("mlx5_3",) and libraries(topology, 8, 3) == {}


def run(
    topology: Topology, spec: str, gpus: tuple[int, ...], openable: Callable[[str], bool], **said: str
) -> Decision:
    own = Own(topology.online, topology.online, (0, 1))
    return decide(topology, own, said, DecideRequest(read_spec(spec), gpus), openable)


def test_run_tells_libraries_only_with_nic_and_of_openable_cards(tmp_path: Path) -> None:
    topology = hgx(tmp_path, range(8))
    told = run(topology, "nic", (3,), lambda device: True)
    assert told.libraries == {"UCX_NET_DEVICES": "mlx5_3:1"}
    assert told.variables[names.NICS] == "mlx5_3"
    assert run(topology, "on", (3,), lambda device: True).libraries == {}
    without = run(topology, "nic", (3,), lambda device: not device.startswith("/dev/infiniband"))
    assert without.libraries == {} and without.variables[names.NICS] is None


def test_a_worker_keeps_to_the_cards_of_its_task(tmp_path: Path) -> None:
    topology = hgx(tmp_path, (0, 4))
    inside = run(topology, "on", (3,), lambda device: True, NUMA_ALIGN_NICS="mlx5_4")
    assert inside.placement.nics == ("mlx5_4",)


# -- The table -------------------------------------------------------------------------------

SMALL = Machine(packages=2, cores=2, gpus=on_nodes(0, 1)).topology()
CARD = Nic("0000:05:00.0", "mlx5_0", "infiniband", (), (2,), True, None, None, 1, "numa_node", ("SYS", "PIX"),
           "/dev/infiniband/uverbs0")  # fmt: skip
LINE = "note nic mlx5_0 infiniband 2 0000:05:00.0 1 /dev/infiniband/uverbs0 SYS,PIX"


def test_a_card_is_a_note_which_a_plugin_without_cards_passes_over() -> None:
    text = format_table(SMALL._replace(nics=(CARD,)), 7)
    assert LINE in text.splitlines()
    assert text.splitlines()[0] == "numa-align-table 1"


def test_more_cards_than_a_table_holds_are_left_out() -> None:
    many = tuple(CARD._replace(name=f"mlx5_{n}") for n in range(200))
    assert len(Claimed.of(SMALL._replace(nics=many)).nics) == MAX_NICS


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (LINE.replace("SYS,PIX", "SYS"), "path to each GPU"),
        (LINE.replace("SYS,PIX", "SYS,PIX,PIX"), "path to each GPU"),
        (LINE.replace("SYS,PIX", "SYS,PI"), "path to each GPU"),
        (LINE.replace("infiniband 2", "token-ring 2"), "fabric"),
        (LINE.replace("infiniband 2", "infiniband 999"), "port"),
        (LINE.replace(" 1 /dev", " 9 /dev"), "not in the table"),
        (LINE.replace("/dev/infiniband", "/etc/infiniband"), "device file"),
        (LINE.replace("mlx5_0", "m" * 70), "name"),
        (LINE.replace("mlx5_0", "-"), "name"),
        (LINE.replace("mlx5_0", "a,b"), "name"),
        (LINE + " x", "not a record"),
    ],
)
def test_a_wrong_card_is_refused_with_its_line(line: str, complaint: str) -> None:
    text = format_table(SMALL._replace(nics=(CARD,)), 7)
    with pytest.raises(TableError, match=complaint):
        Claimed(text.replace(LINE, line))


def test_a_card_before_the_gpus_is_refused() -> None:
    lines = format_table(SMALL._replace(nics=(CARD,)), 7).splitlines()
    lines.insert(3, lines.pop(lines.index(LINE)))
    with pytest.raises(TableError, match=r"after them|not in the table"):
        Claimed("\n".join([*lines, ""]))
