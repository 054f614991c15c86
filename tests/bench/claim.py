"""What the claim costs in C, and how that grows: CPU time in microseconds, the best of many rounds.

    python tests/bench/claim.py

One line per machine. ``claim``: all slices of a step whose tasks are the claimants, at once; ``place``: what
one task pays in the plugin (the claim for the step's GPUs, its share of its GPU's slice, memory,
state), with GPUs and without; ``parse``: reading the table, once per step. The last lines show growth: time
for a core and claimant must not rise. Exits with 1 if a bound is exceeded on the largest machine: 1000 us
for the claim, 300 us for a task.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
SPANK = HERE.parents[1] / "spank"
CLAIM_BOUND, PLACE_BOUND = 1000.0, 300.0

#: Nodes, cores, threads per core, GPUs, tasks.
Shape = tuple[int, int, int, int, int]
LARGEST: Shape = (64, 512, 2, 16, 256)
SHAPES: dict[str, Shape] = {
    "2 sockets, 8 GPUs": (2, 64, 2, 8, 8),
    "NPS4, 8 GPUs": (8, 128, 2, 8, 8),
    "NPS4, 8 GPUs, 64 tasks": (8, 128, 2, 8, 64),
    "largest, SMT 2": LARGEST,
    "largest, 1024 cores": (64, 1024, 1, 16, 256),
}


def build(folder: Path) -> Path:
    """Compiles the benchmark as the plugin is compiled."""
    program = folder / "claim"
    sources = [str(path) for path in sorted((SPANK / "placement").glob("*.c"))]
    flags = ["-O2", "-std=c11", "-D_GNU_SOURCE", f"-I{SPANK}"]
    subprocess.run(["cc", *flags, "-o", str(program), str(HERE / "claim.c"), *sources], check=True)
    return program


def measure(program: Path, shape: Shape) -> dict[str, float]:
    """Microseconds by what is measured, for one machine."""
    output = subprocess.run([str(program), *map(str, shape)], check=True, capture_output=True).stdout
    result: dict[str, float] = json.loads(output)
    return result


def growth(program: Path) -> Iterator[str]:
    """Nanoseconds for a core and claimant, as both grow."""
    for cores in (64, 128, 256, 512, 1024):
        cells = []
        for tasks in (16, 64, 256):
            took = measure(program, (max(cores // 16, 1), cores, 1, 16, tasks))["claim"]
            cells.append(f"{took:8.1f} us {took * 1000 / (cores * tasks):6.2f} ns")
        yield f"{cores:5} cores {''.join(cells)}"


def main() -> int:
    """Prints the figures; the exit status says whether the bounds are kept."""
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        print(f"{'':25}{'claim':>10}{'place':>10}{'no GPUs':>10}{'parse':>10}")
        for name, shape in SHAPES.items():
            took = measure(program, shape)
            columns = ("claim", "place", "place_without_gpus", "parse")
            print(f"{name:25}" + "".join(f"{took[column]:10.1f}" for column in columns))
            kept &= took["claim"] <= CLAIM_BOUND
            kept &= max(took["place"], took["place_without_gpus"]) <= PLACE_BOUND
        print(f"\n{'claim, and for each core and claimant:':20}\n{'':11}", end="")
        print("".join(f"{tasks:>13} claimants" for tasks in (16, 64, 256)))
        for line in growth(program):
            print(line)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
