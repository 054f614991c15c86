"""What a sample of `numa-align audit` costs on this machine, with a growing number of processes.

    python tests/bench/audit.py [PROCESSES ...]        as root for all processes, 200 and 2000 by default

CPU time of the whole command, Python's start included, the median of five, and as a ratio to
`python3 -c pass`. One sample a minute at 1 % of one core is 600 ms.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path


def cpu_ms(command: list[str]) -> float:
    """CPU time of one run, in milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def median(command: list[str]) -> float:
    return statistics.median(cpu_ms(command) for _ in range(5))


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [200, 2000]
    bare = median([sys.executable, "-c", "pass"])
    print(f"python3 -c pass: {bare:.0f} ms")
    sleepers: list[subprocess.Popen[bytes]] = []
    try:
        for count in counts:
            while len(sleepers) < count:
                sleepers.append(subprocess.Popen(["sleep", "1000"]))
            present = sum(entry.name.isdigit() for entry in Path("/proc").iterdir())
            took = median([sys.executable, "-m", "numa_align", "audit", "--json"])
            print(
                f"{present:6} processes: {took:.0f} ms a sample, {took / bare:.1f} times the bare interpreter"
            )
    finally:
        for sleeper in sleepers:
            sleeper.kill()
        for sleeper in sleepers:
            sleeper.wait()


if __name__ == "__main__":
    main()
