"""CPU time that commands take from start to exit, in bare interpreters of the same run.

    python tests/bench/commands.py             as root for `job` and `audit` of others' processes

CPU time and not the clock: it is what a command costs a node, and it hardly depends on what else runs. The
median of the rounds, the commands in turns, and as a ratio to `python3 -c pass`. Exits with 1 if a bound is
exceeded. `job` looks at a process with 2,000 children.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_NUMA_ALIGN = (sys.executable, "-m", "numa_align")
_BARE = "python3 -c pass"

#: In bare interpreters. Most of `--help` is click's import, 2.2 of them.
BOUNDS = {"--help": 4.0, "job --help": 6.0, "topo": 8.0, "check": 8.0, "job": 44.0}


def cpu_ms(command: Sequence[str]) -> float:
    """CPU time of one run and of what it starts, in milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1, 2) or "Traceback" in done.stderr:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def medians(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, float]:
    """The median of each command; the first round warms caches and does not count."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            times[name].append(cpu_ms(command))
    return {name: statistics.median(spent[1:]) for name, spent in times.items()}


def parent_of(count: int, folder: Path) -> subprocess.Popen[str]:
    """A process with so many sleeping children; they end with it."""
    program = (
        "import ctypes, os, signal, sys, time\n"
        f"for _ in range({count}):\n"
        "    if os.fork() == 0:\n"
        "        ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"  # PR_SET_PDEATHSIG
        "        signal.pause()\n"
        "print('there', flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    return parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--processes", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, parent_of(arguments.processes, Path(folder)) as parent:
        commands = {
            _BARE: (sys.executable, "-c", "pass"),
            "--help": (*_NUMA_ALIGN, "--help"),
            "job --help": (*_NUMA_ALIGN, "job", "--help"),
            "topo": (*_NUMA_ALIGN, "topo"),
            "check": (*_NUMA_ALIGN, "check"),
            "job": (*_NUMA_ALIGN, "job", "--pid", str(parent.pid), "--json"),
        }
        spent = medians(commands, arguments.rounds)
        parent.kill()
    for name, milliseconds in spent.items():
        ratio = milliseconds / spent[_BARE]
        bound = f" (bound {BOUNDS[name]:.0f})" if name in BOUNDS else ""
        print(f"{name:>16}: {milliseconds:6.0f} ms of CPU time, {ratio:5.1f} bare interpreters{bound}")
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; `job`: {arguments.processes} processes")
    return int(any(spent[name] > bound * spent[_BARE] for name, bound in BOUNDS.items()))


if __name__ == "__main__":
    sys.exit(main())
