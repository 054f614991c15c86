"""`--numa-align=nic` with cards for RDMA: soft RoCE (rdma_rxe) over network cards of both nodes.

UCX's own programs say which cards they use, and the kernel which ones have sent.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from machine import RDMA, EmulatedMachine, Hardware, SlurmConfig

from .machines import booted, configured

# Not for every run: it has an image and a kernel of its own.
pytestmark = [pytest.mark.machine, pytest.mark.matrix]

HARDWARE = Hardware(nics=(0, 0, 1, 1))
CARDS = {f"rxe{nic.index}": nic for nic in HARDWARE.nic_table()}
NEAR = {node: {name for name, nic in CARDS.items() if nic.node == node} for node in (0, 1)}

TASK_FILE = Path(__file__).with_name("over_cards.py")
TASK = "python3 /opt/over_cards.py"

PLUGIN = "/usr/lib/numa-align/numa-align.so"

SOFT_CARD = """
set -e
interface=$(ls /sys/bus/pci/devices/{bdf}/virtio*/net)
ip address add 10.0.{index}.1/24 dev $interface
ip link set $interface up
rdma link add {name} type rxe netdev $interface
until grep -q ACTIVE /sys/class/infiniband/{name}/ports/1/state; do sleep 0.1; done
"""
"""UCX wants an address of version 4."""

NO_LIMIT = "prlimit --memlock=unlimited --pid $(pidof qemu-ga)"
"""Of locked memory, as sites have it for slurmd: what a card reads is locked. That is where all commands come
from."""


@pytest.fixture(scope="module")
def machine() -> Iterator[EmulatedMachine]:
    """Two cards beside the GPUs of each node."""
    with booted(HARDWARE, layer=RDMA) as ready:
        ready.run("modprobe -a virtio_net rdma_rxe rdma_ucm", check=True)
        for name, nic in CARDS.items():
            ready.run(SOFT_CARD.format(name=name, bdf=nic.bdf, index=nic.index), check=True)
        ready.run(NO_LIMIT, check=True)
        ready.copy_in(TASK_FILE, "/opt/over_cards.py")
        ready.configure(ready.config)  # slurmd with the new limit
        yield ready


@dataclass(frozen=True)
class Task:
    """What a task found. ``used`` and ``listed`` are UCX's words, ``opened`` and ``sent`` the kernel's."""

    rank: int
    told: list[str]
    opened: list[str]
    used: list[str]
    sent: list[str]
    listed: list[str]


def tasks_of(machine: EmulatedMachine, command: str) -> list[Task]:
    said = machine.run(command, user="user", cwd="/tmp", timeout=600, check=True).stdout
    found = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    empty: dict[str, list[str]] = {"used": [], "sent": [], "listed": []}
    return sorted((Task(**{**empty, **one}) for one in found), key=lambda task: task.rank)


def test_a_soft_card_is_where_its_network_card_is(machine: EmulatedMachine) -> None:
    shown = json.loads(machine.run("numa-align topo --json", check=True).stdout)["nics"]
    assert {nic["name"]: (nic["bdf"], nic["kind"], nic["up"]) for nic in shown} == {
        name: (nic.bdf, "roce", True) for name, nic in CARDS.items()
    }
    place = "/sys/class/net/$(cat /sys/class/infiniband/{}/parent)/device/../numa_node"
    for nic in shown:
        kernel = machine.run(f"cat {place.format(nic['name'])}", check=True).stdout
        assert nic["node"] == int(kernel) == CARDS[nic["name"]].node


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        ("-n8 --gpus=8", [[0], [1], [2], [3], [4], [5], [6], [7]]),
        ("-n4 -c2 --gpus=4", [[0], [1], [4], [5]]),
        ("-n2 -c4 --gpus=8", [[0, 1, 2, 3], [4, 5, 6, 7]]),
    ],
)
def test_ucx_sends_over_the_cards_beside_the_gpus(
    machine: EmulatedMachine, options: str, gpus: list[list[int]]
) -> None:
    tasks = tasks_of(machine, f"srun --numa-align=nic {options} {TASK} send")
    assert len(tasks) == len(gpus)
    for task, minors in zip(tasks, gpus):
        assert task.opened == sorted(CARDS), "nothing but the word keeps it from the others"
        assert set(task.told) <= NEAR[HARDWARE.gpu_table()[minors[0]].node or 0]
        assert task.told == task.listed == task.used == task.sent
    uses = Counter(name for task in tasks for name in task.told)
    assert uses == dict.fromkeys(CARDS, max(1, len(tasks) // len(CARDS))), "no card is idle"


def test_without_the_word_ucx_takes_cards_of_both_nodes(machine: EmulatedMachine) -> None:
    tasks = tasks_of(machine, f"srun --numa-align -n2 -c4 --gpus=8 {TASK} send")
    assert [(task.told, task.listed) for task in tasks] == [([], sorted(CARDS))] * 2
    assert any(not set(task.sent) <= NEAR[node] for node, task in enumerate(tasks))


def test_a_site_makes_it_the_default_in_plugstack_conf(machine: EmulatedMachine) -> None:
    site = SlurmConfig(plugstack_include=None, plugstack_extra=(f"optional {PLUGIN} on,nic",))
    with configured(machine, site):
        tasks = tasks_of(machine, f"srun -n2 -c4 --gpus=8 {TASK}")
        assert [set(task.told) for task in tasks] == [NEAR[0], NEAR[1]]
        tasks = tasks_of(machine, f"srun --numa-align=nic=off -n2 -c4 --gpus=8 {TASK}")
        assert [task.told for task in tasks] == [[], []]


@pytest.fixture(scope="module")
def confined(machine: EmulatedMachine) -> Iterator[EmulatedMachine]:
    """Slurm gives out the cards too, and a step may open those of its job."""
    config = SlurmConfig(
        slurm_extra=("GresTypes=gpu,nic",),
        node_extra=f"Gres=gpu:8,nic:{len(CARDS)}",
        gres_extra=tuple(
            f"NodeName={machine.name} Name=nic File=/dev/infiniband/uverbs{nic.index}"
            for nic in CARDS.values()
        ),
    )
    with configured(machine, config):
        yield machine


@pytest.mark.parametrize(
    ("options", "opened", "told"),
    [
        ("--gres=nic:3", ["rxe0", "rxe1", "rxe2"], [["rxe0", "rxe1"], ["rxe2"]]),
        ("--gres=nic:1", ["rxe0"], [["rxe0"], ["rxe0"]]),
        ("", [], [[], []]),
    ],
)
def test_a_card_that_the_cgroup_closes_is_not_told(
    confined: EmulatedMachine, options: str, opened: list[str], told: list[list[str]]
) -> None:
    tasks = tasks_of(confined, f"srun --numa-align=nic -n2 -c4 --gpus=8 {options} {TASK}")
    assert [task.opened for task in tasks] == [opened] * 2
    assert [task.told for task in tasks] == told


def test_bench_measures_each_node_with_each_open_card(confined: EmulatedMachine) -> None:
    bench = "numa-align bench --quick --no-gpus --json"
    command = f"srun -n1 -c8 --gpus=8 --gres=nic:1 {bench}"
    measured = json.loads(confined.run(command, user="user", timeout=300, check=True).stdout)["nics"]
    assert [(cell["node"], cell["nic"]) for cell in measured] == [(0, "rxe0"), (1, "rxe0")]
    assert all(cell["gb_s"] > 0 for cell in measured)
