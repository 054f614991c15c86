"""Writes the seeds of the corpus: small tables of the shapes that people run, and every option.

    python tests/fuzz/seeds.py

``make -C tests/fuzz grow`` starts from these, and keeps the fewest files that reach all that it found.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "prolog"))

from builder import Device, ExtraNode, Machine, on_nodes
from numa_align.names import CPUS_WORDS, MEM_WORDS
from numa_align.placement.table import format_table
from numa_align.topology.model import PATHS, Nic, Topology

CORPUS = Path(__file__).parent / "corpus"

MACHINES = {
    "one": Machine(),
    "sockets": Machine(packages=2, cores=2, smt=2, gpus=on_nodes(0, 0, 1, 1)),
    "nps4": Machine(packages=2, nodes=4, cores=2, gpus=on_nodes(3, 1, 7, 5)),
    "power": Machine(
        packages=2, cores=2, smt=4, siblings_apart=False, node_ids=(0, 8), gpus=on_nodes(0, 8),
        extra_nodes=(ExtraNode(254, kind="gpu-memory"), ExtraNode(255, kind="gpu-memory")),
    ),
    "unknown": Machine(packages=2, cores=2, gpus=(Device(None, source="none"), Device(1))),
    "memory": Machine(
        packages=2, cores=2, extra_nodes=(ExtraNode(2),), gpus=on_nodes(2, 0), cpu_only_nodes=(1,)
    ),
}  # fmt: skip


def with_cards() -> Topology:
    """Cards of four fabrics, at all distances, with and without the first port."""
    topology = MACHINES["sockets"].topology()
    kinds = ("infiniband", "roce", "slingshot", "efa")
    cards = tuple(
        Nic(
            f"0000:{number + 65:02x}:00.0", f"mlx5_{number}", kind, (), (1 + number % 2,), True, None, None,
            number // 2, "numa_node", tuple(PATHS[(number + gpu) % len(PATHS)] for gpu in range(4)),
            f"/dev/infiniband/uverbs{number}",
        )
        for number, kind in enumerate(kinds)
    )  # fmt: skip
    return topology._replace(nics=cards)


SPECS = (
    "",
    "on",
    "off",
    "(null)",
    "strict,verbose",
    "help",
    "nic",
    "nic=off",
    "smt=on",
    "smt=off",
    "0-3,8",
    "4095-8191",
)


def main() -> None:
    """Writes all seeds; the names say what they are."""
    topologies = {name: machine.topology() for name, machine in MACHINES.items()}
    for name, topology in {**topologies, "cards": with_cards()}.items():
        table = format_table(topology, 7, boot="boot", job_gpus=[0], note="why")
        for tail, step in {"": b"", "-tasks": bytes([1, 1, 7, 3, 70, 0, 0]), "-hand": b"\xff" * 16}.items():
            (CORPUS / "table" / f"{name}{tail}").write_bytes(table.encode() + step)
    words = [f"mem={word}" for word in MEM_WORDS] + [f"cpus={word}" for word in CPUS_WORDS]
    for number, text in enumerate([*SPECS, *words, ",".join(words), "x" * 2000]):
        (CORPUS / "spec" / f"seed-{number:02}").write_bytes(text.encode())


if __name__ == "__main__":
    for folder in ("table", "spec"):
        (CORPUS / folder).mkdir(parents=True, exist_ok=True)
    main()
