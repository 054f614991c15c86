"""The promises of the claim on every recorded machine, with the GPUs that it has."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from builder.recorded import answered, at_least, unanswered
from numa_align.placement.claim import ClaimMachine, Spec
from numa_align.placement.plan import Request, make_plan, to_json
from numa_align.topology.model import Topology
from numa_align.topology.read import read_at
from unit.promises import Case, check, check_placements


@pytest.fixture(scope="module")
def topologies(recorded: Path) -> list[tuple[str, Topology]]:
    roots = [root for root, _ in answered(recorded)] + list(unanswered(recorded))
    found = [(str(root.relative_to(recorded)), read_at(root)) for root in roots]
    return [(name, topology) for name, topology in found if topology.online]


def steps(topology: Topology, seed: str) -> Iterator[tuple[int, ...]]:
    """All CPUs, and some by chance: nodes, cores, threads."""
    rng = random.Random(seed)
    yield topology.online
    some = {node.id for node in topology.nodes if rng.random() < 0.5}
    yield tuple(sorted(cpu for core in topology.cores if core.node in some for cpu in core.cpus))
    for keep in (0.1, 0.7):
        yield tuple(sorted(cpu for core in topology.cores if rng.random() < keep for cpu in core.cpus))
        yield tuple(cpu for cpu in topology.online if rng.random() < keep)


def test_every_recorded_machine_holds_what_is_promised(topologies: list[tuple[str, Topology]]) -> None:
    assert len(topologies) > at_least(recorded=66, own=15)
    for name, topology in topologies:
        rng = random.Random(name)
        nodes = [node.id for node in topology.nodes]
        gpus = tuple(gpu.node for gpu in topology.gpus)
        chance = tuple(rng.choice(nodes) for _ in range(rng.randint(1, 40)))
        for cpus in steps(topology, name):
            for homes in filter(None, (gpus, gpus * 3, chance)):
                check(Case(topology, cpus, homes))


def test_every_recorded_machine_has_a_plan(topologies: list[tuple[str, Topology]]) -> None:
    for name, topology in topologies:
        every = tuple(range(len(topology.gpus)))
        rng = random.Random(name)
        for cpus in filter(None, steps(topology, name)):
            tasks = rng.choice((1, 2, max(1, len(every)), 3 * len(every) + 1))
            request = Request(tasks, every, cpus, rng.choice(("all", "each", "closest")), Spec(on=True))
            plan = make_plan(topology, request)
            check_placements(topology, plan)
            assert len(str(to_json(topology, plan))) > 0


def test_every_recorded_machine_fits_a_table(topologies: list[tuple[str, Topology]]) -> None:
    for _, topology in topologies:
        assert ClaimMachine.of(topology).gpus == tuple(gpu.bdf for gpu in topology.gpus)
