"""A block layout (``srun -m block:block``) on every recorded machine: ranks whose CPUs are near their GPU.

    python tests/bench/block_layout.py

One rank for each GPU, the node's CPUs in contiguous parts, rank i uses GPU i by address; machines whose GPUs
are on several nodes, all of them known. Beside it numa-align's own, with its default and with cpus=node.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from builder.recorded import answered, unpacked
from numa_align.names import CPUS_WORDS, CpusWord
from numa_align.placement.claim import ClaimMachine, Spec, Step, Task
from numa_align.topology.model import Topology
from numa_align.topology.read import read_at


def of_block(topology: Topology) -> int:
    """Ranks that a block layout puts near their GPUs."""
    parts = ClaimMachine.of(topology).divide(topology.online, len(topology.gpus))
    return sum(bool(part) and set(part) <= set(gpu.cpus) for part, gpu in zip(parts, topology.gpus))


def of_ours(topology: Topology, cpus: CpusWord) -> int:
    """Ranks whose CPUs are near after numa-align."""
    machine, count = ClaimMachine.of(topology), len(topology.gpus)
    gpus, nodes = tuple(range(count)), tuple(node.id for node in topology.nodes)
    step = Step(topology.online, nodes, count, gpus, Spec(on=True, cpus=cpus))
    masks = machine.divide(topology.online, count)
    placed = [machine.place(step, Task(rank, gpus, masks[rank])) for rank in range(count)]
    return sum(set(one.cpus) <= set(topology.gpus[rank].cpus) for rank, one in enumerate(placed))


def main() -> None:
    """Print a row for each machine, and the sums."""
    print("| machine | GPUs | block layout | numa-align | cpus=node |\n| --- | --- | --- | --- | --- |")
    rows = []
    with unpacked() as folder:
        for root, _ in answered(folder):
            topology = read_at(root)
            homes = {gpu.node for gpu in topology.gpus}
            if root.parent.name == "own" or len(homes) < 2 or None in homes:
                continue
            ours = [of_ours(topology, word) for word in CPUS_WORDS if word != "all"]
            rows.append((len(topology.gpus), of_block(topology), *ours))
            print(f"| {root.name} | {' | '.join(map(str, rows[-1]))} |")
    totals = [sum(column) for column in zip(*rows)]
    whole = [sum(row[i] == row[0] for row in rows) for i in range(1, len(totals))]
    print(f"| ranks | {' | '.join(map(str, totals))} |")
    print(f"| machines with all ranks | {len(rows)} | {' | '.join(map(str, whole))} |")


if __name__ == "__main__":
    main()
