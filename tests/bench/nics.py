"""What sixteen network cards cost a job prolog: medians of processor time, with and without them in turns.

    python tests/bench/nics.py

Exits with 1 if the cards take more than two milliseconds where a bare interpreter takes eight, that is a
quarter of one: milliseconds depend on the machine and on what else runs there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "prolog"))

from bench.topology import hook
from builder import MEMORY, Card, Machine, on_nodes

BOUND = 0.25


def machine(cards: int) -> Machine:
    """Two nodes, eight GPUs, and cards on switches of their own."""
    beside = [
        Card(
            f"0001:{2 * n + 1:02x}:00.0", f"pci0001:{2 * n:02x}/0001:{2 * n:02x}:01.0", n % 2,
            rdma=f"mlx5_{n}", net=f"ib{n}",
        )
        for n in range(cards)
    ]  # fmt: skip
    return Machine(packages=2, caches=4, cores=8, smt=2, gpus=on_nodes(*[0] * 4, *[1] * 4), cards=beside)


def processor_time(python: str, program: str) -> float:
    """Milliseconds of a program from start to exit, user and system, as slurmd runs it."""
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_GPUS": "0,1,2,3,4,5,6,7"}
    child = os.posix_spawn(python, [python, "-I", "-S", "-c", program], job)
    _, status, used = os.wait4(child, 0)
    assert status == 0
    return (used.ru_utime + used.ru_stime) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--cards", type=int, default=16)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the prolog")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        base = Path(folder)
        roots = {
            name: machine(count).write(base / name)
            for name, count in (("none", 0), ("cards", arguments.cards))
        }
        programs = {"bare": "pass"}
        for name, root in roots.items():
            programs[name] = hook(f"prolog({str(root)!r}, {str(base / f'tables-{name}')!r})")
        times: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(arguments.rounds):
            for name, program in programs.items():
                times[name].append(processor_time(arguments.python, program))
        spent = {name: statistics.median(took) for name, took in times.items()}
        written = (base / "tables-cards/1").read_text().count("\nnote nic ")
    more = spent["cards"] - spent["none"]
    print(f"a bare interpreter: {spent['bare']:.1f} ms; a prolog without cards: {spent['none']:.1f} ms")
    print(
        f"{written} cards: {more:.2f} ms more, {more / spent['bare']:.2f} bare interpreters (bound {BOUND})"
    )
    return int(written != arguments.cards or more > BOUND * spent["bare"])


if __name__ == "__main__":
    sys.exit(main())
