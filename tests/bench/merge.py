"""What it takes to merge the samples of a whole cluster.

    python tests/bench/merge.py [NODES]               10,000 by default; no rights needed

Writes a file for each node, as `numa-align audit --json` prints it on a node with eight GPUs and eight tasks,
and has them merged by `numa-align audit --from`: as a table, with a row for each task, and as JSON. CPU
time, as one process has one core, and the most memory that it had. Exits with 1 beyond 10 s or 500 MB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "prolog"))

from numa_align.audit.model import Sample, TaskSample, to_json

SECONDS, MEGABYTES = 10.0, 500.0
GPUS = 8


def sample_of(node: int) -> Sample:
    """A node of a job on 64 nodes; on every fourth its tasks are far from their GPUs."""
    far = node % 4 == 0
    tasks = tuple(
        TaskSample(
            1000 + node // 64, "0", (node % 64) * GPUS + rank, f"user{node // 64 % 50}",
            (f"0000:{rank + 1:02x}:00.0",),
            f"{16 * rank}-{16 * rank + 15}", "default" if far else "preferred-many:0", 12 << 30,
            0 if far else 12 << 30, "unaligned" if far else "aligned", "not-asked" if far else None,
            "CPUs are on node 1, the GPU is on node 0" if far else None, 1, "gpu",
        )
        for rank in range(GPUS)
    )  # fmt: skip
    return Sample(f"gpu{node:05}", 1_700_000_000.0 + node, GPUS, tasks)


def measured(command: list[str], output: Path) -> tuple[float, float]:
    """Seconds of CPU time, and megabytes at most, of one run."""
    with output.open("wb") as file:
        pid = os.posix_spawn(
            command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), 1)]
        )
        _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"{' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def main() -> int:
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    exceeded = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "samples"
        folder.mkdir()
        for node in range(nodes):
            (folder / f"{node}.json").write_text(json.dumps(to_json(sample_of(node))) + "\n")
        size = int(subprocess.check_output(["du", "-sm", "--apparent-size", str(folder)]).split()[0])
        print(f"{nodes} nodes, {size} MB of JSON")
        for words in ([], ["--tasks"], ["--json"]):
            output = Path(name) / "out"
            command = [sys.executable, "-m", "numa_align", "audit", "--from", str(folder), *words]
            seconds, megabytes = measured(command, output)
            lines, shown = output.read_bytes().count(b"\n"), " ".join(words) or "table"
            print(f"{shown:>8}: {seconds:5.1f} s of CPU time, {megabytes:4.0f} MB, {lines} lines printed")
            exceeded |= seconds > SECONDS or megabytes > MEGABYTES
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; bounds {SECONDS:.0f} s, {MEGABYTES:.0f} MB")
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
