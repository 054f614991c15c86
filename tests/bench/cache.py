"""Where memory of tasks comes from when the node of their GPUs is full of page cache.

    python tests/bench/cache.py [--slurm 24.11]... [--rounds 1] [--rows REGEX] [--cases REGEX]

Root; run in the repository. In the emulated machine (tests/machine): two nodes of 768 MiB, all four GPUs on
node 0, four tasks that use one each. Before each step node 0 is filled with clean cache, by reading the disk
from a CPU of that node. A row is a way of starting the tasks, a column what they do; a cell is the share of
their memory on node 0 (the least and the most of the rounds), and "killed" if one of them was.

Linux is that of the Debian release which has the Slurm: 6.1 (22.05), 6.12 (24.11), newer (26.05).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from machine import Machine, Topology  # noqa: E402

TASKS = 4
FOLDER = "/dev/shm/touch"
CONF = "/etc/numa-align/prolog.conf"
TOUCH = Path(__file__).with_name("touch.py")
MACHINE = Topology(gpus=(0, 0, 0, 0))

#: Reads the disk on node 0; what does not fit drives out what was read before.
FILL = "sync; echo 3 >/proc/sys/vm/drop_caches; taskset -c 0 cat /dev/vda >/dev/null"


@dataclass(frozen=True)
class Row:
    """A way of starting the tasks: options of srun, a prefix of the program, the site's word for room."""

    name: str
    options: str = ""
    prefix: str = ""
    room: str = "off"


@dataclass(frozen=True)
class Case:
    """What each task does, and what is done on the machine before and meanwhile."""

    name: str
    words: str
    fill: Optional[str] = FILL
    loader: bool = False


NEAR = "numactl --cpunodebind=0"
ROWS = (
    Row("stock, CPUs near by hand", prefix=NEAR),
    Row("`numactl --preferred`", prefix=f"{NEAR} --preferred=0"),
    Row("`numactl --membind`", prefix=f"{NEAR} --membind=0"),
    Row("`mem=local`", "--numa-align=mem=local"),
    Row("`mem=interleave`", "--numa-align=mem=interleave"),
    Row("`mem=bind`", "--numa-align=mem=bind"),
    Row("`mem=preferred`, `room=off`", "--numa-align"),
    Row("`mem=local`, room made", "--numa-align=mem=local", room="auto"),
    Row("`numactl --preferred`, room made", prefix=f"{NEAR} --preferred=0", room="auto"),
    Row("`--numa-align` alone", "--numa-align", room="auto"),
)
CASES = (
    Case("empty cache, burst", "100 small burst", fill="echo 3 >/proc/sys/vm/drop_caches"),
    Case("4 KiB, slow", "100 small slow"),
    Case("4 KiB, burst", "100 small burst"),
    Case("huge, slow", "100 huge slow"),
    Case("huge, burst", "100 huge burst"),
    Case("hot cache, 4 KiB, slow", "100 small slow", fill=f"{FILL}; taskset -c 0 cat /dev/vda >/dev/null"),
    Case("a loader reads meanwhile", "100 small slow", loader=True),
    Case("more than the node, slow", "230 small slow"),
)


@dataclass(frozen=True)
class Seen:
    """One step: share on node 0, milliseconds of the slowest task, whether a task was killed."""

    near: float
    milliseconds: int
    killed: bool


@contextmanager
def loading(machine: Machine, *, on: bool) -> Iterator[None]:
    """Reads the disk again and again on node 0, as a loader of training data does."""
    if not on:
        yield
        return
    loop = "while :; do taskset -c 3 cat /dev/vda; done >/dev/null & echo $! >/run/loader"
    machine.run(f"setsid sh -c '{loop}'", check=True)
    try:
        yield
    finally:
        machine.run("kill -- -$(ps -o pgid= $(cat /run/loader) | tr -d ' ')")


def measure(machine: Machine, row: Row, case: Case) -> Seen:
    machine.run(f"mkdir -p /etc/numa-align; echo room={row.room} >{CONF}", check=True)
    machine.run(f"rm -rf {FOLDER}; install -d -m 1777 {FOLDER}; {case.fill}", check=True)
    command = f"srun -n{TASKS} --gpus={TASKS} {row.options} {row.prefix} "
    command += f"python3 -S /opt/touch.py {FOLDER} {TASKS} {case.words}"
    with loading(machine, on=case.loader):
        result = machine.run(command, user="user", cwd="/tmp", timeout=300)
    said: list[dict[str, Any]] = [json.loads(x) for x in result.stdout.splitlines() if x.startswith("{")]
    machine.settle()
    if len(said) < TASKS and "oom" not in result.stderr.lower() and "Killed" not in result.stderr:
        raise RuntimeError(f"{command}: status {result.status}: {result.stderr}")
    total = sum(sum(one["nodes"].values()) for one in said)
    near = sum(one["nodes"].get("0", 0) for one in said)
    return Seen(
        100 * near / total if total else 0, max((x["ms"] for x in said), default=0), len(said) < TASKS
    )


def cell(seen: list[Seen]) -> str:
    low, high = min(one.near for one in seen), max(one.near for one in seen)
    text = f"{low:.0f}" if round(low) == round(high) else f"{low:.0f}-{high:.0f}"
    killed = sum(one.killed for one in seen)
    times = "/".join(f"{one.milliseconds / 1000:.1f}" for one in seen)
    return f"{text} % ({times} s)" + (f", killed {killed} of {len(seen)}" if killed else "")


def main() -> None:
    """Print a table for each kernel, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--slurm", action="append", choices=["22.05", "24.11", "26.05"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rows", default="")
    parser.add_argument("--cases", default="")
    options = parser.parse_args()
    rows = [row for row in ROWS if re.search(options.rows, row.name)]
    cases = [case for case in CASES if re.search(options.cases, case.name)]
    for version in options.slurm or ["24.11"]:
        with Machine(MACHINE, version, project=ROOT) as machine:
            machine.copy_in(TOUCH, "/opt/touch.py")
            kernel = machine.run("uname -r", check=True).stdout.strip()
            machine.run(FILL, check=True)
            print(f"\nLinux {kernel}\n{machine.run('head -2 /sys/devices/system/node/node0/meminfo').stdout}")
            print("| | " + " | ".join(case.name for case in cases) + " |")
            print("| --- " * (1 + len(cases)) + "|", flush=True)
            for row in rows:
                cells = [cell([measure(machine, row, case) for _ in range(options.rounds)]) for case in cases]
                print(f"| {row.name} | {' | '.join(cells)} |", flush=True)
            print(machine.run("busybox dmesg | grep -i 'out of memory\\|oom' | tail -20").stdout)
            print(machine.run("grep -h 'room on' /var/log/slurm/*.log | tail -40").stdout, flush=True)


if __name__ == "__main__":
    main()
