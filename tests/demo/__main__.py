"""``make demo``: the same training command without and with --numa-align, on real Slurm.

Boots the test machine (two NUMA nodes, eight GPUs; see tests/machine), runs the steps as an ordinary user and
shows what the kernel reports of every rank. The third and fourth step find node 0 full of page cache: one
with explicit bindings, one aligned.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import EmulatedMachine, Hardware
from machine.patience import make_room_patiently
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
RANKS = 8
TRAIN = "python3 train.py --report --json"

#: Reads the disk, which is larger than what is free, on a CPU of node 0.
FILL = "sync; echo 3 >/proc/sys/vm/drop_caches; taskset -c 0 cat /dev/vda >/dev/null"
#: What one writes without this project, once one knows the machine: GPUs 0-3 are on node 0, 4-7 on node 1.
BY_HAND = "sh -c 'n=$((SLURM_LOCALID / 4)); exec numactl --cpunodebind=$n --preferred=$n $0 $*'"


@dataclass(frozen=True)
class Rank:
    """What ``numa-align check --json`` reported of one rank."""

    number: int
    gpu: str
    cpus: str
    policy: str
    memory: str
    near_percent: float
    state: str

    @classmethod
    def from_json(cls, line: str) -> Rank:
        """One line of output of ``numa-align check --json``."""
        data: dict[str, Any] = json.loads(line)
        nodes = ",".join(map(str, data["policy_nodes"]))
        memory = (f"{size / 2**20:.1f} MiB on {node}" for node, size in data["bytes_by_node"].items())
        return cls(
            number=data["task"],
            gpu=", ".join(f"GPU {gpu['minor']} on node {gpu['node']}" for gpu in data["gpus"]),
            cpus=f"{data['cpus']} on node {','.join(map(str, data['cpu_nodes']))}",
            policy=f"{data['policy']} {nodes}".strip(),
            memory=", ".join(memory),
            near_percent=data["near_percent"],
            state=data["state"],
        )


def run(machine: EmulatedMachine, options: str, prefix: str = "", *, full: bool = False) -> list[Rank]:
    """Run the training as a step, maybe after filling node 0, and return its ranks in order."""
    if full:
        machine.run(FILL, timeout=300, check=True)
    command = f"srun --quiet {options} {prefix} {TRAIN}"
    result = machine.run(command, user="user", cwd="/home/user", timeout=600, check=True)
    ranks = [Rank.from_json(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return sorted(ranks, key=lambda rank: rank.number)


def show(console: Console, command: str, ranks: Sequence[Rank]) -> int:
    """Print one step; returns how many of its ranks are aligned."""
    table = Table(title=f"$ {command}", title_justify="left", title_style="bold", expand=False)
    for heading in ("rank", "uses", "runs on CPUs", "memory policy", "memory", "near its GPU", "state"):
        table.add_column(heading)
    for rank in ranks:
        colour = "green" if rank.state == "aligned" else "red"
        percent = f"{rank.near_percent:.1f} %"
        state = f"[{colour}]{rank.state}[/]"
        table.add_row(str(rank.number), rank.gpu, rank.cpus, rank.policy, rank.memory, percent, state)
    console.print(table)
    aligned = sum(rank.state == "aligned" for rank in ranks)
    least = f"{_least_near(ranks):.1f} % at least"
    console.print(f"{aligned} of {len(ranks)} ranks aligned; memory near the GPU: {least}\n")
    return aligned


def _least_near(ranks: Sequence[Rank]) -> float:
    return min(rank.near_percent for rank in ranks)


def main() -> int:
    """Run the demonstration; exits 1 unless --numa-align aligned every rank and kept more memory near.

    How much of it stays near on the full node depends on how fast this machine makes room.
    """
    with EmulatedMachine(Hardware(), project=ROOT) as machine:
        machine.copy_in(Path(__file__).with_name("train.py"), "/home/user/train.py")
        stock = f"-n{RANKS} --gpus={RANKS}"
        without = run(machine, stock)
        aligned = run(machine, f"--numa-align {stock}")
        by_hand = run(machine, stock, BY_HAND, full=True)
        make_room_patiently(machine)
        kept = run(machine, f"--numa-align {stock}", full=True)
    console = Console(width=None if sys.stdout.isatty() else 132)
    console.print()
    program = TRAIN.partition(" --")[0]
    show(console, f"srun {stock} {program}", without)
    done = show(console, f"srun --numa-align {stock} {program}", aligned)
    console.print("Node 0 is now full of page cache, as nodes are that read training data.\n")
    show(console, f"srun {stock} numactl --cpunodebind=N --preferred=N {program}", by_hand)
    console.print(
        "With room=auto in /etc/numa-align/prolog.conf (and 8 s for it, as this machine is emulated):\n"
    )
    show(console, f"srun --numa-align {stock} {program}", kept)
    return 0 if done == RANKS and _least_near(kept) > _least_near(by_hand) else 1


if __name__ == "__main__":
    sys.exit(main())
