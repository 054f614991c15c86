"""The shapes that people run, with the answers worked out by hand and the reason why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from builder import Device, ExtraNode, Machine, on_nodes
from numa_align.cpulist import format_cpulist
from numa_align.names import Visible
from numa_align.placement.claim import Placement, Spec
from numa_align.placement.plan import ON, Request, make_plan, select_cpus
from numa_align.topology.model import Topology


def plan(
    machine: Machine,
    tasks: int,
    *,
    gpus: Optional[Sequence[int]] = None,
    cpus: Optional[str] = None,
    visible: Visible = "all",
    spec: Spec = ON,
) -> tuple[Placement, ...]:
    topology: Topology = machine.topology()
    chosen = tuple(range(len(topology.gpus)) if gpus is None else gpus)
    return make_plan(topology, Request(tasks, chosen, select_cpus(topology, cpus), visible, spec)).placements


def cpus(placements: Sequence[Placement]) -> list[str]:
    return [format_cpulist(placement.cpus) for placement in placements]


def nodes(placements: Sequence[Placement]) -> list[tuple[int, ...]]:
    return [placement.memory_nodes for placement in placements]


def states(placements: Sequence[Placement]) -> set[str]:
    return {placement.state for placement in placements}


TWO_SOCKETS = Machine(packages=2, cores=16, smt=2, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1))


def test_two_sockets_of_four_gpus() -> None:
    """Each socket's 16 cores are divided among its four GPUs: four cores each, with their siblings."""
    placed = plan(TWO_SOCKETS, 8)
    assert cpus(placed) == [
        "0-3,32-35", "4-7,36-39", "8-11,40-43", "12-15,44-47",
        "16-19,48-51", "20-23,52-55", "24-27,56-59", "28-31,60-63",
    ]  # fmt: skip
    assert nodes(placed) == [(0,)] * 4 + [(1,)] * 4
    assert states(placed) == {"aligned"} and {placement.policy for placement in placed} == {"preferred-many"}


def test_gpus_shown_one_a_task_give_the_same() -> None:
    """It makes no difference who told the tasks apart: Slurm (--gpus-per-task) or their local ids."""
    assert plan(TWO_SOCKETS, 8, visible="each") == plan(TWO_SOCKETS, 8)


def test_one_task_has_all_gpus_and_all_cores() -> None:
    """A launcher of workers must not be confined to one GPU's node; its memory prefers both."""
    (placed,) = plan(TWO_SOCKETS, 1)
    assert (placed.gpus, cpus([placed])) == (tuple(range(8)), ["0-63"])
    assert (placed.policy, placed.memory_nodes, placed.state) == ("preferred-many", (0, 1), "aligned")


def test_dgx_a100_nps4_leaves_no_core_idle() -> None:
    """Nodes 0, 2, 4, 6 have no GPU. All GPUs of the socket are equally near to them, so all share them.

    A GPU has half of its own node (8 cores) and half of one of the two others, in whole caches of 4.
    """
    dgx = Machine(packages=2, nodes=4, caches=4, cores=4, smt=2, gpus=on_nodes(3, 3, 1, 1, 7, 7, 5, 5))
    placed = plan(dgx, 8)
    cores = [format_cpulist(cpu for cpu in placement.cpus if cpu < 128) for placement in placed]
    assert cores[:4] == ["32-39,48-55", "40-47,56-63", "0-7,16-23", "8-15,24-31"]
    used = [cpu for placement in placed for cpu in placement.cpus]
    assert sorted(used) == list(range(256))
    assert nodes(placed) == [(3,), (3,), (1,), (1,), (7,), (7,), (5,), (5,)]
    # Half of what each has is beside its GPU's node, on nodes that are no GPU's; that is told.
    assert states(placed) == {"aligned"} and {(p.own, p.beside) for p in placed} == {(16, 16)}
    own = plan(dgx, 8, spec=Spec(on=True, cpus="node"))
    assert {(p.own, p.beside, p.state) for p in own} == {(32, 0, "aligned")}


def test_nodes_that_are_cache_sized_are_dealt_out_whole() -> None:
    """Three GPUs on twelve nodes of one package: three nodes beside its own each, not a part of nine."""
    placed = plan(Machine(packages=1, nodes=12, cores=6, gpus=on_nodes(0, 4, 8)), 3)
    assert [len(placement.cpus) for placement in placed] == [24, 24, 24]
    for placement in placed:
        assert len({cpu // 6 for cpu in placement.cpus}) == 4
    assert states(placed) == {"aligned"}


def test_two_cells_of_one_socket_far_apart_are_two_places() -> None:
    """A guest: one socket, two cells, and the distance that the kernel assumes without a table."""
    guest = Machine(packages=1, nodes=2, cores=8, gpus=on_nodes(0, 0), matrix=((10, 20), (20, 10)))
    placed = plan(guest, 2)
    assert cpus(placed) == ["0-3", "4-7"] and states(placed) == {"aligned"}
    assert {(p.given, p.note is None) for p in placed} == {(8, False)}


def test_a_task_that_loses_cpus_is_told_and_cpus_fair_gives_them_back() -> None:
    """Four tasks on the four GPUs of one socket, in a step of both: the other socket's cores idle."""
    machine = Machine(packages=2, cores=8, gpus=on_nodes(0, 0, 0, 0))
    placed = plan(machine, 4)
    assert cpus(placed) == ["0-1", "2-3", "4-5", "6-7"] and states(placed) == {"aligned"}
    assert "2 of the 4 CPUs that Slurm gave it" in (placed[0].note or "")
    assert "8 CPUs of the step idle" in (placed[0].note or "") and "cpus=fair" in (placed[0].note or "")
    fair = plan(machine, 4, spec=Spec(on=True, cpus="fair"))
    assert cpus(fair) == ["0-1,8-9", "2-3,10-11", "4-5,12-13", "6-7,14-15"]
    assert states(fair) == {"partial"} and not any(p.note for p in fair)
    assert "cpus=fair" in (fair[0].reason or "")


def test_closest_in_a_step_on_one_socket_leaves_no_core_idle() -> None:
    """Four tasks see the socket's four GPUs; the step has four more that nobody is near to."""
    placed = plan(TWO_SOCKETS, 4, cpus="0-15,32-47", visible="closest")
    assert cpus(placed) == ["0-3,32-35", "4-7,36-39", "8-11,40-43", "12-15,44-47"]
    assert states(placed) == {"aligned"}


def test_closest_where_half_of_the_nodes_have_no_gpu() -> None:
    """Slurm shows the first GPU to the tasks without a near one; still no core has two tasks."""
    booster = Machine(packages=2, nodes=4, cores=6, smt=2, gpus=on_nodes(3, 1, 7, 5))
    placed = plan(booster, 8, visible="closest")
    used = [cpu for placement in placed for cpu in placement.cpus]
    assert len(used) == len(set(used)), "nobody shares"


def test_tasks_alone_on_a_gpu_leave_nothing_of_its_share_idle() -> None:
    """Five tasks on four GPUs of one node: five parts of the node, not a half and three fourths."""
    placed = plan(Machine(packages=1, cores=20, gpus=on_nodes(0, 0, 0, 0)), 5)
    assert sorted(len(placement.cpus) for placement in placed) == [4, 4, 4, 4, 4]


def test_fewer_cores_than_gpus_but_enough_for_the_tasks() -> None:
    """Five tasks of eight GPUs on five cores have a core each."""
    machine = Machine(packages=1, cores=8, smt=2, gpus=on_nodes(*[0] * 8))
    placed = plan(machine, 5, cpus="0-4,8-12")
    assert sorted(cpus(placed)) == ["0,8", "1,9", "2,10", "3,11", "4,12"]


def test_snc4_with_four_gpus() -> None:
    """Two GPUs per socket, on the first and last of four nodes: each has one of the two nodes between."""
    placed = plan(Machine(packages=2, nodes=4, cores=4, gpus=on_nodes(0, 3, 4, 7)), 4)
    assert cpus(placed) == ["0-7", "8-15", "16-23", "24-31"] and states(placed) == {"aligned"}
    assert nodes(placed) == [(0,), (3,), (4,), (7,)]


def test_snc4_where_the_table_says_which_node_is_nearer() -> None:
    """With a SLIT that tells neighbours from others, nobody shares: a node goes to its neighbour."""
    matrix = [[10 + abs(a - b) if a // 4 == b // 4 else 21 for b in range(8)] for a in range(8)]
    snc4 = Machine(packages=2, nodes=4, cores=4, gpus=on_nodes(0, 3, 4, 7), matrix=matrix)
    assert cpus(plan(snc4, 4)) == ["0-7", "8-15", "16-23", "24-31"]


def test_power9_keeps_four_threads_a_core_together_and_off_gpu_memory() -> None:
    """Nodes 0 and 8; 252-255 are the memory of the GPUs, which the kernel shows as nodes."""
    extra = tuple(ExtraNode(node, kind="gpu-memory") for node in (252, 253, 254, 255))
    gpus = tuple(Device(node, memory_node=255 - i) for i, node in enumerate((0, 0, 8, 8)))
    power9 = Machine(
        packages=2, cores=5, smt=4, siblings_apart=False, node_ids=(0, 8), extra_nodes=extra, gpus=gpus
    )
    placed = plan(power9, 4)
    # Five cores for two GPUs: the first has one more.
    assert cpus(placed) == ["0-11", "12-19", "20-31", "32-39"]
    assert nodes(placed) == [(0,), (0,), (8,), (8,)] and states(placed) == {"aligned"}


def grace(superchips: int, gpus_each: int) -> Machine:
    """72 cores and one node of LPDDR per Grace; each GPU brings eight nodes, seven of them empty."""
    count = superchips * gpus_each
    first = [superchips + 8 * gpu for gpu in range(count)]
    extra = tuple(ExtraNode(node + i, 0 if i else 96 << 30, "gpu-memory") for node in first for i in range(8))
    gpus = tuple(Device(gpu // gpus_each, memory_node=first[gpu]) for gpu in range(count))
    return Machine(packages=superchips, cores=72, extra_nodes=extra, gpus=gpus)


def test_gh200_never_puts_host_memory_into_the_gpu() -> None:
    (placed,) = plan(grace(1, 1), 1)
    assert (cpus([placed]), placed.memory_nodes, placed.policy) == (["0-71"], (0,), "preferred-many")
    assert (placed.state, placed.advice) == ("aligned", None)


def test_gb200_has_two_gpus_a_grace() -> None:
    """34 nodes, of which two are for host memory; that is no reason for a warning about many nodes."""
    placed = plan(grace(2, 2), 4)
    assert cpus(placed) == ["0-35", "36-71", "72-107", "108-143"]
    assert nodes(placed) == [(0,), (0,), (1,), (1,)]
    assert {placement.advice for placement in placed} == {None}


def test_mi250x_follows_the_odd_order_of_its_gpus() -> None:
    """GCDs 0 to 7 are on nodes 3,3,1,1,0,0,2,2; each has the eight cores of one cache."""
    frontier = Machine(
        nodes=4, caches=2, cores=8, smt=2, gpus=on_nodes(3, 3, 1, 1, 0, 0, 2, 2, vendor=0x1002)
    )
    placed = plan(frontier, 8)
    assert [text.partition(",")[0] for text in cpus(placed)] == [
        "48-55", "56-63", "16-23", "24-31", "0-7", "8-15", "32-39", "40-47",
    ]  # fmt: skip
    assert nodes(placed) == [(3,), (3,), (1,), (1,), (0,), (0,), (2,), (2,)]
    assert states(placed) == {"aligned"}


def test_mi300a_has_a_gpu_in_every_package() -> None:
    """CPU and GPU share the memory of the node: it is host memory like any other."""
    mi300a = Machine(packages=4, caches=3, cores=8, gpus=on_nodes(0, 1, 2, 3, vendor=0x1002))
    placed = plan(mi300a, 4)
    assert cpus(placed) == ["0-23", "24-47", "48-71", "72-95"]
    assert nodes(placed) == [(0,), (1,), (2,), (3,)] and states(placed) == {"aligned"}


def test_cores_of_the_other_socket_only_are_left_alone() -> None:
    """Nothing near to bind to: the task keeps its CPUs, its memory still goes near its GPU."""
    (placed,) = plan(TWO_SOCKETS, 1, gpus=[0], cpus="16-23")
    assert (placed.state, placed.binds_cpus, cpus([placed])) == ("memory-only", False, ["16-23"])
    assert (placed.policy, placed.memory_nodes) == ("preferred-many", (0,))
    assert placed.reason == "this step has no CPU near its GPUs; its CPUs stay as Slurm chose them"
    assert "--gres-flags=enforce-binding" in (placed.advice or "")


def test_cores_of_one_socket_for_gpus_of_both() -> None:
    """All need cores: GPUs without near cores get an even share, and no cores are shared."""
    placed = plan(TWO_SOCKETS, 8, cpus="0-15,32-47")
    assert {len(placement.cpus) for placement in placed} == {4}
    assert sorted(cpu for placement in placed for cpu in placement.cpus) == [*range(16), *range(32, 48)]
    assert [placement.state for placement in placed] == ["aligned"] * 4 + ["memory-only"] * 4
    assert nodes(placed) == [(0,)] * 4 + [(1,)] * 4


def test_cores_near_a_gpu_outside_the_step_are_advised_away_by_number() -> None:
    """NPS4 with GPUs on two of four nodes; one GPU with all cores: those near the other are remote."""
    machine = Machine(nodes=4, cores=4, gpus=on_nodes(3, 1))
    (placed,) = plan(machine, 1, gpus=[0])
    assert (placed.state, cpus([placed])) == ("partial", ["0-15"])
    assert placed.reason and placed.reason.startswith("4 of 16 CPUs are on nodes without a GPU of this step")
    assert placed.advice == (
        "with the 12 CPUs that are local to its GPUs it would be aligned: request no more, "
        "with --gres-flags=enforce-binding"
    )
    (requested,) = plan(machine, 1, gpus=[0], cpus="0-3,8-15")
    assert requested.state == "aligned"


def test_nobody_gives_a_near_core_away_while_there_are_unused_ones() -> None:
    """GPU 1's package has no core in the step; two of a third package are enough for it, few as they are."""
    machine = Machine(packages=3, cores=8, gpus=on_nodes(0, 1))
    assert cpus(plan(machine, 2, cpus="0-7,16-17")) == ["0-7", "16-17"]


def test_core_left_over_goes_to_the_gpu_that_has_least() -> None:
    """Nodes 0 and 1 have a GPU, and two and three cores in the step; node 2 evens them out."""
    machine = Machine(nodes=3, cores=4, gpus=on_nodes(0, 1))
    assert cpus(plan(machine, 2, cpus="0-1,4-6,8")) == ["0-1,8", "4-6"]


def test_one_core_near_four_gpus() -> None:
    """Three GPUs of socket 1 have none near; each takes one core from the richest, which are all equal."""
    placed = plan(TWO_SOCKETS, 8, cpus="0-11,16,32-43,48")
    assert [len(placement.cpus) // 2 for placement in placed] == [3, 2, 2, 2, 1, 1, 1, 1]
    assert [placement.state for placement in placed] == ["aligned"] * 5 + ["memory-only"] * 3


def test_seven_cores_for_two_gpus() -> None:
    """As evenly as possible, in whole cores; the first has the one that is left over."""
    machine = Machine(cores=7, smt=2, gpus=on_nodes(0, 0))
    assert cpus(plan(machine, 2)) == ["0-3,7-10", "4-6,11-13"]


def test_fewer_cores_than_gpus_divides_the_cores_threads() -> None:
    """Six cores for eight GPUs: hardware threads are dealt out, three cores per socket for four GPUs."""
    placed = plan(TWO_SOCKETS, 8, cpus="0-2,16-18,32-34,48-50")
    assert cpus(placed) == ["0", "32", "1,33", "2,34", "16", "48", "17,49", "18,50"]
    assert states(placed) == {"aligned"}


def test_fewer_cpus_than_gpus_share_them_evenly() -> None:
    """Three CPUs for eight GPUs: at most three tasks per CPU, each on the nearest that has room."""
    placed = plan(TWO_SOCKETS, 8, cpus="0,1,16")
    assert cpus(placed) == ["0", "0", "0", "1", "16", "16", "16", "1"]


def test_24_memory_nodes_are_remarked_on() -> None:
    """One node per cache (an AMD firmware setting): aligned, with a warning about copies per node."""
    machine = Machine(packages=2, nodes=12, cores=8, gpus=on_nodes(0, 3, 6, 9, 12, 15, 18, 21))
    placed = plan(machine, 8, cpus="0-7,24-31,48-55,72-79,96-103,120-127,144-151,168-175")
    assert states(placed) == {"aligned"} and {placement.reason for placement in placed} == {None}
    for placement in placed:
        assert "24 memory nodes" in (placement.advice or "") and "24 copies" in (placement.advice or "")
        assert "NPS" in (placement.advice or "") and "SNC" in (placement.advice or "")


def test_usual_numbers_of_memory_nodes_are_not_remarked_on() -> None:
    for nodes_each in (1, 2, 4):
        machine = Machine(packages=2, nodes=nodes_each, cores=4, gpus=on_nodes(0, nodes_each))
        assert all("copies" not in (placement.advice or "") for placement in plan(machine, 2))


def test_no_gpu_at_all_spreads_tasks_over_the_nodes() -> None:
    """Tasks without GPUs are the claimants themselves: even, and on one node each."""
    machine = Machine(packages=2, cores=8)
    placed = plan(machine, 4)
    assert cpus(placed) == ["0-3", "4-7", "8-11", "12-15"]
    assert nodes(placed) == [(0,), (0,), (1,), (1,)] and states(placed) == {"aligned"}
    # Three tasks on two nodes: two share one.
    assert cpus(plan(machine, 3)) == ["0-3", "4-7", "8-15"]


def test_fewer_tasks_than_nodes_have_nodes_that_lie_together() -> None:
    placed = plan(Machine(packages=2, nodes=4, cores=4), 2)
    assert cpus(placed) == ["0-15", "16-31"]
    assert nodes(placed) == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_two_tasks_a_gpu_divide_its_slice() -> None:
    """Tasks 0 and 2 use GPU 0, as programs count: local id modulo the number of GPUs."""
    machine = Machine(packages=2, cores=8, smt=2, gpus=on_nodes(0, 1))
    placed = plan(machine, 4)
    assert [placement.gpus for placement in placed] == [(0,), (1,), (0,), (1,)]
    assert cpus(placed) == ["0-3,16-19", "8-11,24-27", "4-7,20-23", "12-15,28-31"]


def test_gpu_on_a_node_without_memory_uses_the_nearest_with_memory() -> None:
    matrix = [[10, 12, 21, 21], [12, 10, 21, 21], [21, 21, 10, 12], [21, 21, 12, 10]]
    machine = Machine(packages=2, nodes=2, cores=4, gpus=on_nodes(1, 2), cpu_only_nodes=(1,), matrix=matrix)
    placed = plan(machine, 2)
    assert nodes(placed) == [(0,), (2,)] and cpus(placed) == ["0-7", "8-15"]


def test_gpu_on_a_node_with_memory_only_uses_the_nearest_cores() -> None:
    """A node of HBM or CXL has no core, and host memory is not put there."""
    matrix = [[10, 21, 13], [21, 10, 31], [13, 31, 10]]
    machine = Machine(packages=2, cores=4, extra_nodes=(ExtraNode(2),), gpus=(Device(2),), matrix=matrix)
    (placed,) = plan(machine, 1)
    assert (cpus([placed]), placed.memory_nodes, placed.state) == (["0-3"], (0,), "aligned")


def test_memory_without_cores_is_used_where_there_is_no_other() -> None:
    matrix = [[10, 21, 13], [21, 10, 31], [13, 31, 10]]
    machine = Machine(
        packages=2,
        cores=4,
        extra_nodes=(ExtraNode(2),),
        gpus=on_nodes(0),
        cpu_only_nodes=(0, 1),
        matrix=matrix,
    )
    assert nodes(plan(machine, 1)) == [(2,)]


def test_gpu_that_nothing_places_is_unaligned_and_left_alone() -> None:
    machine = Machine(packages=2, cores=4, gpus=(Device(None, source="none"),))
    (placed,) = plan(machine, 1, cpus="2-5")
    assert (placed.state, placed.binds_cpus, cpus([placed])) == ("unaligned", False, ["2-5"])
    assert (placed.policy, placed.memory_nodes) == ("default", ())
    assert "0000:11:00.0" in (placed.reason or "") and "override file" in (placed.advice or "")


def test_slices_change_places_so_that_none_crosses_a_cache() -> None:
    """Three cores of one cache and four of the next: the GPU with three comes first, not second."""
    machine = Machine(caches=2, cores=4, gpus=on_nodes(0, 0))
    assert cpus(plan(machine, 2, cpus="1-7")) == ["4-7", "1-3"]
