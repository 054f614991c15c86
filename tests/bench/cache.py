"""Where memory of tasks comes from when the node of their GPUs is full of page cache.

    python tests/bench/cache.py [--slurm 24.11]... [--rounds 1] [--rows REGEX] [--cases REGEX]
                                [--limit SECONDS]

Root; run in the repository. In the emulated machine (tests/machine): two nodes of 768 MiB, all four GPUs on
node 0, four tasks that use one each. Before each step node 0 is filled with cache, by reading the disk from a
CPU of that node. A row is a way of starting the tasks, a column what they do. A cell is the share of all
their memory on node 0, that of the task with the least in brackets, the seconds of the slowest task, and
their ratio to the same row with an empty cache; "killed" if one was.

Linux is that of the Debian release which has the Slurm: 6.1 (22.05), 6.12 (24.11), newer (26.05). Dirty pages
belong to a device that swallows what is written (null_blk): writing them takes no time, as on no real disk.
`--limit` gives the prolog more than its second: an emulated machine drops cache much slower than a real one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from machine import EmulatedMachine, Hardware  # noqa: E402
from machine.patience import set_limit  # noqa: E402

TASKS = 4
FOLDER = "/dev/shm/touch"
CONF = "/etc/numa-align/prolog.conf"
SAID = "/run/said"
TOUCH = Path(__file__).with_name("touch.py")
MACHINE = Hardware(gpus=(0, 0, 0, 0))

EMPTY = "sync; echo 3 >/proc/sys/vm/drop_caches"
#: Reads the disk on node 0; what does not fit drives out what was read before.
READ = "taskset -c 0 cat /dev/vda >/dev/null"
FILL = f"{EMPTY}; {READ}"
#: First 500 MiB that would have to be written; nothing is while less than 9/10 of all memory are dirty.
DIRTY = (
    f"{EMPTY}; modprobe null_blk; cd /proc/sys/vm; echo 90 >dirty_ratio; echo 90 >dirty_background_ratio; "
    f"taskset -c 0 dd if=/dev/zero of=/dev/nullb0 bs=1M count=500 status=none; {READ}"
)
#: What the machine has when it boots.
STOCK = "echo 0 >/proc/sys/vm/zone_reclaim_mode; echo 1 >/proc/sys/kernel/numa_balancing"
STOCK += "; echo madvise >/sys/kernel/mm/transparent_hugepage/defrag"

#: Keeps what the prolog says of room.
LISTENER = f"""import socket
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind("/dev/log")
while True:
    line = log.recv(4096).decode()
    if "numa-align" in line and "room" in line:
        with open("{SAID}", "a") as file:
            file.write(line.partition("job ")[2] + "\\n")
"""


@dataclass(frozen=True)
class Row:
    """A way of starting the tasks: options of srun, a prefix of the program, the site's words."""

    name: str
    options: str = ""
    prefix: str = ""
    room: str = "off"
    setting: str = "true"


@dataclass(frozen=True)
class Case:
    """What each task does, and what is done on the machine before and meanwhile."""

    name: str
    words: str
    fill: str = FILL
    loader: bool = False


NEAR = "numactl --cpunodebind=0"
RECLAIM = "vm.zone_reclaim_mode"
SET_RECLAIM = "echo {} >/proc/sys/vm/zone_reclaim_mode"
NO_BALANCING = "echo 0 >/proc/sys/kernel/numa_balancing"
NO_DEFRAG = "echo never >/sys/kernel/mm/transparent_hugepage/defrag"
ROWS = (
    Row("stock, CPUs near by hand", prefix=NEAR),
    Row("`numactl --preferred`", prefix=f"{NEAR} --preferred=0"),
    Row("`numactl --membind`", prefix=f"{NEAR} --membind=0"),
    Row("`mem=local`", "--numa-align=mem=local"),
    Row("`mem=interleave`", "--numa-align=mem=interleave"),
    Row("`mem=bind`", "--numa-align=mem=bind"),
    Row("`mem=preferred` (built in)", "--numa-align"),
    Row("stock, `room=auto`", prefix=NEAR, room="auto"),
    Row("`numactl --preferred`, `room=auto`", prefix=f"{NEAR} --preferred=0", room="auto"),
    Row("`mem=local`, `room=auto`", "--numa-align=mem=local", room="auto"),
    Row("`mem=interleave`, `room=auto`", "--numa-align=mem=interleave", room="auto"),
    Row("`mem=bind`, `room=auto`", "--numa-align=mem=bind", room="auto"),
    Row("`mem=preferred`, `room=auto`", "--numa-align", room="auto"),
    Row("`mem=preferred`, NUMPY_MADVISE_HUGEPAGE=0", "--numa-align", "env NUMPY_MADVISE_HUGEPAGE=0"),
    *(
        Row(
            f"`numactl --preferred`, {RECLAIM} {n}", "", f"{NEAR} --preferred=0", "off", SET_RECLAIM.format(n)
        )
        for n in (1, 7)
    ),
    Row(f"`mem=preferred`, {RECLAIM} 7", "--numa-align", setting=SET_RECLAIM.format(7)),
    Row("`mem=preferred`, numa_balancing 0", "--numa-align", setting=NO_BALANCING),
    Row("`mem=preferred`, huge pages' defrag never", "--numa-align", setting=NO_DEFRAG),
)
CASES = (
    Case("empty cache, 4 KiB, slow", "100 small slow", EMPTY),
    Case("empty cache, 4 KiB, burst", "100 small burst", EMPTY),
    Case("empty cache, huge, burst", "100 huge burst", EMPTY),
    Case("4 KiB, slow", "100 small slow"),
    Case("4 KiB, burst", "100 small burst"),
    Case("huge, slow", "100 huge slow"),
    Case("huge, burst", "100 huge burst"),
    Case("numpy, slow", "100 numpy slow"),
    Case("hot cache, 4 KiB, slow", "100 small slow", f"{FILL}; {READ}"),
    Case("dirty cache, 4 KiB, slow", "100 small slow", DIRTY),
    Case("dirty cache, 4 KiB, burst", "100 small burst", DIRTY),
    Case("a loader reads meanwhile", "100 small slow", loader=True),
    Case("more than the node, slow", "230 small slow"),
)


@dataclass(frozen=True)
class Seen:
    """One step: shares on node 0, milliseconds of the slowest task, whether a task was killed."""

    near: float
    least: float
    milliseconds: int
    killed: bool


@contextmanager
def loading(machine: EmulatedMachine, *, on: bool) -> Iterator[None]:
    """Reads the disk again and again on node 0, as a loader of training data does."""
    if not on:
        yield
        return
    loop = "while :; do taskset -c 3 cat /dev/vda; done & echo $! >/run/loader"
    # Apart from the pipes of this command, which lasts until they are closed.
    machine.run(f"setsid sh -c '{loop}' </dev/null >/dev/null 2>&1", check=True)
    try:
        yield
    finally:
        machine.run("kill -- -$(ps -o pgid= $(cat /run/loader) | tr -d ' ')")


def prepare(machine: EmulatedMachine, row: Row, case: Case) -> None:
    words = f"mkdir -p /etc/numa-align; echo room={row.room} >{CONF}; {STOCK}; {row.setting}"
    machine.run(words, check=True)
    machine.run(f"rm -rf {FOLDER}; install -d -m 1777 {FOLDER}; {case.fill}", timeout=300, check=True)


def measure(machine: EmulatedMachine, row: Row, case: Case) -> Seen:
    prepare(machine, row, case)
    command = f"srun -n{TASKS} --gpus={TASKS} {row.options} {row.prefix} "
    command += f"python3 /opt/touch.py {FOLDER} {TASKS} {case.words}"
    with loading(machine, on=case.loader):
        result = machine.run(command, user="user", cwd="/tmp", timeout=300)
    said: list[dict[str, Any]] = [json.loads(x) for x in result.stdout.splitlines() if x.startswith("{")]
    machine.settle()
    if len(said) < TASKS and "oom" not in result.stderr.lower() and "Killed" not in result.stderr:
        raise RuntimeError(f"{command}: status {result.status}: {result.stderr}")
    shares = [100 * one["nodes"].get("0", 0) / sum(one["nodes"].values()) for one in said]
    return Seen(
        sum(shares) / TASKS,  # a killed task counts as one without memory
        min(shares, default=0),
        max((x["ms"] for x in said), default=0),
        len(said) < TASKS,
    )


def span(values: Sequence[float]) -> str:
    low, high = round(min(values)), round(max(values))
    return f"{low}" if low == high else f"{low}-{high}"


def cell(seen: Sequence[Seen], empty: Optional[float]) -> str:
    killed = sum(one.killed for one in seen)
    seconds = sum(one.milliseconds for one in seen) / len(seen) / 1000
    ratio = f", x{seconds / empty:.1f}" if empty else ""
    text = f"{span([x.near for x in seen])} % ({span([x.least for x in seen])}), {seconds:.1f} s{ratio}"
    return text + (f", killed {killed} of {len(seen)}" if killed else "")


def table(machine: EmulatedMachine, rows: Sequence[Row], cases: Sequence[Case], rounds: int) -> None:
    print("| | " + " | ".join(case.name for case in cases) + " |")
    print("| --- " * (1 + len(cases)) + "|", flush=True)
    for row in rows:
        cells = []
        empty: dict[str, float] = {}  # seconds by what the tasks do
        for case in cases:
            seen = [measure(machine, row, case) for _ in range(rounds)]
            cells.append(cell(seen, empty.get(case.words)))
            if case.fill == EMPTY:
                empty[case.words] = sum(one.milliseconds for one in seen) / rounds / 1000
        print(f"| {row.name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print a table for each kernel, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--slurm", action="append", choices=["22.05", "24.11", "26.05"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rows", default="")
    parser.add_argument("--cases", default="")
    parser.add_argument("--limit", type=float)
    options = parser.parse_args()
    rows = [row for row in ROWS if re.search(options.rows, row.name)]
    cases = [case for case in CASES if re.search(options.cases, case.name)]
    for version in options.slurm or ["24.11"]:
        with EmulatedMachine(MACHINE, version, project=ROOT) as machine:
            machine.copy_in(TOUCH, "/opt/touch.py")
            machine.put({"/opt/listener.py": LISTENER})
            machine.run("setsid python3 /opt/listener.py </dev/null >/dev/null 2>&1 &", check=True)
            kernel = machine.run("uname -r", check=True).stdout.strip()
            if options.limit:
                set_limit(machine, options.limit)
            machine.run(FILL, check=True)
            print(f"\nLinux {kernel}\n{machine.run('head -2 /sys/devices/system/node/node0/meminfo').stdout}")
            table(machine, rows, cases, options.rounds)
            print(machine.run("busybox dmesg | grep -i 'out of memory\\|oom' | tail -20").stdout)
            print(machine.run(f"cat {SAID}").stdout, flush=True)


if __name__ == "__main__":
    main()
