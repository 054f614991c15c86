"""How long reading a machine takes: medians, in milliseconds.

    python tests/bench/topology.py

Prints the recorded machine that takes longest (if the archive is there), the job prolog from start to exit
as slurmd runs it (``python3 -I -S``, table written), and how the time grows with nodes, CPUs and GPUs on
built machines. Exits with 1 if a bound is exceeded: 30 ms for the recorded machine, 80 ms for the prolog.
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
READ_BOUND, PROLOG_BOUND = 30.0, 80.0


def median(action: Callable[[], object], rounds: int) -> float:
    """Milliseconds of the median round; the first warms caches and does not count."""
    action()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def prolog(python: str, root: Path, folder: Path) -> Callable[[], object]:
    """The process that numa-align-prolog starts, on a machine below ``root`` and with a folder for tables."""
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_GPUS": "0,1,2,3,4,5,6,7"}
    program = (
        f"import sys; sys.path.insert(0, {str(_PACKAGE)!r})\n"
        "from numa_align.hooks.prolog import Path, write_job_table\n"
        f"write_job_table({job!r}, Path({str(root)!r}), Path({str(folder)!r}))"
    )
    return lambda: subprocess.run([python, "-I", "-S", "-c", program], check=True)


def recorded_machines(rounds: int) -> tuple[float, Path]:
    """The longest median among all recorded machines."""
    with unpacked() as folder:
        roots = [root for root, _ in answered(folder)] + list(unanswered(folder))
        times = {root: median(lambda root=root: read_at(root), 3) for root in roots}  # type: ignore[misc]
        slowest = max(times, key=lambda root: times[root])
        return median(lambda: read_at(slowest), rounds), slowest.relative_to(folder)


def growth(rounds: int, folder: Path) -> None:
    """One line a machine, each twice as large as the one before in one respect."""

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
        large = Machine(packages=2, nodes=4, caches=4, cores=4, smt=2, gpus=on_nodes(*range(8)))
        root = large.write(Path(folder) / "prolog")
        empty = median(
            lambda: subprocess.run([arguments.python, "-I", "-S", "-c", "pass"], check=True), arguments.rounds
        )
        spent = median(prolog(arguments.python, root, Path(folder) / "tables"), arguments.rounds)
        print(f"start to exit, {len(large.online)} CPUs, 8 GPUs: {spent:.1f} ms (bound {PROLOG_BOUND:.0f})")
        print(f"    of it, an interpreter that does nothing: {empty:.1f} ms")
        exceeded |= spent > PROLOG_BOUND
        growth(arguments.rounds, Path(folder))
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
