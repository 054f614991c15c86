"""How long reading a machine takes: medians, in milliseconds.

    python tests/bench/topology.py

Prints the recorded machine that takes longest (if the archive is there), job prolog and epilog from start to
exit as slurmd runs them (``python3 -I -S``, table written and removed), and how the time grows with nodes,
CPUs and GPUs on built machines. Exits with 1 if a bound is exceeded: 30 ms for the recorded machine, 2.5
bare interpreters for the prolog, 1.8 for the epilog.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "prolog"))

from builder import MEMORY, Machine, on_nodes
from builder.recorded import answered, archive, unanswered, unpacked
from numa_align.topology.read import read_at

_PACKAGE = Path(__file__).parents[2] / "prolog"
READ_BOUND = 30.0
#: In bare interpreters of the same run: milliseconds depend on the machine and on what else runs there.
HOOK_BOUNDS = {"prolog": 2.5, "epilog": 1.8}


def median(action: Callable[[], object], rounds: int) -> float:
    """Milliseconds of the median round; the first warms caches and does not count."""
    action()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def hook(call: str) -> str:
    """The program that the scripts in prolog/bin start, with another machine and folder."""
    return (
        f"import sys; sys.path.insert(0, {str(_PACKAGE)!r})\n"
        f"from numa_align.hooks.prolog import {call.partition('(')[0]}\n{call}"
    )


def start_to_exit(python: str, programs: dict[str, str], rounds: int) -> dict[str, float]:
    """Milliseconds of the median round of each program as slurmd runs them; in turns, since load varies."""
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_GPUS": "0,1,2,3,4,5,6,7"}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds + 1):
        for name, program in programs.items():
            start = time.perf_counter()
            subprocess.run([python, "-I", "-S", "-c", program], env=job, check=True)
            times[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(spent[1:]) for name, spent in times.items()}


def hooks(python: str, rounds: int, folder: Path) -> bool:
    """Print what prolog and epilog take, by themselves and in bare interpreters; whether that is too much."""
    large = Machine(packages=2, nodes=4, caches=4, cores=4, smt=2, gpus=on_nodes(*range(8)))
    root, tables = large.write(folder / "prolog"), folder / "tables"
    programs = {
        "bare": "pass",
        "prolog": hook(f"prolog({str(root)!r}, {str(tables)!r})"),
        "epilog": hook(f"epilog({str(tables)!r})"),
    }
    spent = start_to_exit(python, programs, rounds)
    print(f"from start to exit, {len(large.online)} CPUs, 8 GPUs; a bare interpreter: {spent['bare']:.1f} ms")
    for name, bound in HOOK_BOUNDS.items():
        ratio = spent[name] / spent["bare"]
        print(f"{name:>10}: {spent[name]:.1f} ms, {ratio:.2f} bare interpreters (bound {bound})")
    return any(spent[name] > bound * spent["bare"] for name, bound in HOOK_BOUNDS.items())


def recorded_machines(rounds: int) -> tuple[float, Path]:
    """The longest median among all recorded machines."""
    with unpacked() as folder:
        roots = [root for root, _ in answered(folder)] + list(unanswered(folder))
        times = {root: median(lambda root=root: read_at(root), 3) for root in roots}  # type: ignore[misc]
        slowest = max(times, key=lambda root: times[root])
        return median(lambda: read_at(slowest), rounds), slowest.relative_to(folder)


def growth(rounds: int, folder: Path) -> None:
    """One line per machine, each twice as large as the previous one in one respect."""

    def with_gpus(count: int) -> Machine:
        return Machine(packages=2, nodes=4, gpus=on_nodes(*(i % 8 for i in range(count))))

    series = {
        "CPUs": [Machine(packages=2, caches=n, cores=8, smt=2) for n in (2, 4, 8, 16, 32)],
        "nodes": [Machine(packages=2, nodes=n, caches=32 // n, cores=4, smt=2) for n in (1, 2, 4, 8, 16)],
        "GPUs": [with_gpus(n) for n in (1, 2, 4, 8, 16)],
    }
    for name, machines in series.items():
        for number, machine in enumerate(machines):
            root = machine.write(folder / name / str(number))
            count = {"CPUs": len(machine.online), "nodes": len(machine.all_nodes), "GPUs": len(machine.gpus)}[
                name
            ]
            spent = median(lambda root=root: read_at(root), rounds)  # type: ignore[misc]
            print(f"{name:>6} {count:>5}: {spent:6.2f} ms  ({spent / count * 1000:.0f} us each)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the prolog")
    arguments = parser.parse_args()
    exceeded = False
    if archive().is_file():
        spent, slowest = recorded_machines(arguments.rounds)
        print(f"slowest recorded machine, {slowest}: {spent:.1f} ms (bound {READ_BOUND:.0f})")
        exceeded |= spent > READ_BOUND
    else:
        print(f"no recorded machines at {archive()}")
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        exceeded |= hooks(arguments.python, arguments.rounds, Path(folder))
        growth(arguments.rounds, Path(folder))
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
