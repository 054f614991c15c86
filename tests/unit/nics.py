"""Network cards of generated machines, and what is promised of their choice, as checks for any machine."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from builder import Card, Device, Machine
from hypothesis import strategies as st
from numa_align.placement.claim import Placement
from numa_align.topology.model import PATHS, Nic, Topology
from numa_align.topology.read import read_at
from unit.machines import Near, topologies

#: The fabrics, of which the first present one is used: Ethernet usually leads to the storage and outside.
FABRICS = ("infiniband", "slingshot", "efa", "roce", "iwarp")


def with_nics(topology: Topology, seed: int, count: int) -> Topology:
    """The same machine with cards: near by switches, by nodes, or by no rule at all."""
    rng = random.Random(seed)
    words = rng.choice((PATHS, PATHS[:2], PATHS[2:], ("PIX", "SYS"), ("NODE",)))
    kinds = rng.choice((("infiniband",), ("roce",), FABRICS, ("slingshot", "ethernet")))
    nodes = [*(node.id for node in topology.nodes), None]
    nics = tuple(
        Nic(
            f"0000:{number + 1:02x}:01.0", f"mlx5_{number}", rng.choice(kinds), (), (1,),
            rng.random() < 0.9, "0000:00:00.0" if rng.random() < 0.05 else None,
            "bond0" if rng.random() < 0.05 else None, rng.choice(nodes), "numa_node",
            tuple(rng.choice(words) for _ in topology.gpus), f"/dev/infiniband/uverbs{number}",
        )
        for number in range(count)
    )  # fmt: skip
    return topology._replace(nics=nics)


def machines_with_nics() -> st.SearchStrategy[Topology]:
    return st.builds(with_nics, topologies(), st.integers(0, 2**32 - 1), st.integers(0, 12))


def choosable(topology: Topology) -> list[Nic]:
    """Up, for RDMA, no part of another card or of a bond, and of one fabric."""
    good = [nic for nic in topology.nics if nic.up and nic.physical is None and nic.bond is None]
    fabric = next((kind for kind in FABRICS if any(nic.kind == kind for nic in good)), None)
    return [nic for nic in good if nic.kind == fabric]


def nearest(topology: Topology) -> list[frozenset[str]]:
    """Names of the cards that are nearest to each GPU."""
    near, cards = Near(topology), choosable(topology)

    def rank(nic: Nic, gpu: int) -> tuple[object, ...]:
        path, home = PATHS.index(nic.paths[gpu]), topology.gpus[gpu].node
        if path < len(PATHS) - 1 or home is None:
            return (path,)
        if nic.node is None:
            return (path, (True, True, 1000))
        return (path, (nic.node != home, *near.rank(home, nic.node)))

    found = []
    for gpu in range(len(topology.gpus)):
        ranks = [rank(nic, gpu) for nic in cards]
        found.append(frozenset(nic.name or "" for nic, its in zip(cards, ranks) if its == min(ranks)))
    return found


def check_nearest(topology: Topology, placed: Sequence[Placement]) -> None:
    """Each GPU has one of its nearest cards, and there is no card that is nearest to none of them."""
    near = nearest(topology)
    for placement in placed:
        sets = [near[gpu] for gpu in placement.gpus]
        assert all(not near or near & set(placement.nics) for near in sets)
        assert set(placement.nics) <= frozenset().union(*sets)


def check_dealt(topology: Topology, placed: Sequence[Placement]) -> None:
    """No card idles while another has two tasks one of which it is as near to, nor by a chain of tasks that
    step aside for one another.
    """
    holders = Counter(nic for placement in placed for nic in placement.nics)
    of_gpu = nearest(topology)
    near = [[of_gpu[gpu] for gpu in placement.gpus] for placement in placed]
    everything = {nic for sets in near for cards in sets for nic in cards}
    for start in (nic for nic, count in holders.items() if count > 1):
        reached, todo = {start}, [start]
        while todo:
            card = todo.pop()
            for placement, sets in zip(placed, near):
                if card not in placement.nics:
                    continue
                # Cards that it could have in the place of this one.
                others = {nic for cards in sets if card in cards for nic in cards} - reached
                reached |= others
                todo += others
        idle = (everything & reached) - holders.keys()
        assert not idle, (start, idle)


def check_even(placed: Sequence[Placement]) -> None:
    """Tasks that use the same GPUs have as many cards, but for one for each set of equals."""
    sizes: dict[tuple[int, ...], set[int]] = {}
    for placement in placed:
        sizes.setdefault(tuple(sorted(placement.gpus)), set()).add(len(placement.nics))
    for gpus, found in sizes.items():
        assert max(found) - min(found) <= len(gpus)


def switch(number: int) -> str:
    bus = f"0000:{number + 1:x}0"
    return f"pci{bus}/{bus}:01.0/{bus[:-1]}1:00.0"


def hgx(
    tmp_path: Path,
    cards: Sequence[int],
    kind: str = "infiniband",
    more: Sequence[Card] = (),
    **fields: Any,
) -> Topology:
    """Eight GPUs on switches of their own, four per node; a card on some of the switches.

    ``more`` are functions of a card that is there: they are where it is.
    """
    gpus = [
        Device(node=n // 4, bdf=f"0000:{n + 1:x}3:00.0", way=f"{switch(n)}/0000:{n + 1:x}2:00.0")
        for n in range(8)
    ]
    beside = [
        Card(
            f"0000:{n + 1:x}4:00.0", f"{switch(n)}/0000:{n + 1:x}2:01.0", n // 4, kind,
            f"mlx5_{n}", **fields,
        )
        for n in cards
    ]  # fmt: skip
    ways = {card.bdf: card.way for card in beside}
    beside += [replace(card, way=ways[card.physfn or ""]) for card in more]
    return read_at(Machine(packages=2, cores=8, gpus=gpus, cards=beside).write(tmp_path))
