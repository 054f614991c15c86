"""Where the plugin's time in a task goes: CPU time by part, in microseconds, medians over tasks.

    python tests/bench/task.py [--plugin DIR]

The hooks run as they are, compiled with the plugin's flags, in children that are forked as slurmstepd forks
tasks; what slurmstepd offers is faked, and devices are /dev/null. So page faults after fork are in it, Slurm
is not, and no root is needed. ``calls`` are the system calls for CPUs and memory; ``access`` is a part of
``devices``.
``--plugin`` takes the C files of another tree, so that two can be compared on one machine in turn.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from builder.machine import Machine, on_nodes  # noqa: E402
from numa_align.placement.table import format_table  # noqa: E402

WRAPPED = (
    "access", "faccessat", "na_table_read", "na_devices_of_task", "na_meeting_meet", "na_cpuset_of_step",
    "na_step_place", "na_bind_get_cpus", "na_bind_set_cpus", "na_bind_allowed_mems", "na_bind_set_memory",
    "na_bind_get_policy", "na_report_environment", "na_report_programs",
)  # fmt: skip
#: Cores per node, GPUs, tasks; two nodes with two threads per core.
SHAPES = [
    (8, 2, 2),
    (16, 2, 8),
    (32, 8, 1),
    (32, 8, 8),
    (32, 16, 16),
    (32, 64, 64),
    (64, 8, 64),
    (64, 8, 128),
]
COLUMNS = (
    "all",
    "devices",
    "access",
    "cpuset",
    "place",
    "calls",
    "report",
    "programs",
    "meeting",
    "faults",
    "step",
    "table",
)


def build(folder: Path, spank: Path) -> Path:
    program = folder / "task"
    sources = [*sorted(spank.glob("*.c")), *sorted((spank / "placement").glob("*.c"))]
    flags = ["-O2", "-Wl,-z,now", "-std=c11", "-D_GNU_SOURCE", f"-I{spank}"]
    wraps = [f"-Wl,--wrap={name}" for name in WRAPPED]
    files = [str(path) for path in sources if path.name != "plugin.c"]
    subprocess.run(["cc", *flags, *wraps, "-o", str(program), str(HERE / "task.c"), *files], check=True)
    return program


def table(folder: Path, cores: int, gpus: int) -> Path:
    nodes = [gpu * 2 // gpus for gpu in range(gpus)]
    topology = Machine(packages=2, cores=cores, smt=2, gpus=on_nodes(*nodes)).topology()
    numbered = tuple(gpu._replace(index=number) for number, gpu in enumerate(topology.gpus))
    path = folder / "table"
    path.write_text(format_table(topology._replace(gpus=numbered), 1), encoding="ascii")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plugin", type=Path, default=ROOT / "spank", help="the folder of its C files")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = build(folder, chosen.plugin)
        print(f"{'CPUs':>5}{'GPUs':>5}{'tasks':>6}" + "".join(f"{column:>10}" for column in COLUMNS))
        for cores, gpus, tasks in SHAPES:
            command = [str(program), str(table(folder, cores, gpus)), str(gpus), str(tasks)]
            took = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            print(f"{cores * 4:5}{gpus:5}{tasks:6}" + "".join(f"{took[column]:10.1f}" for column in COLUMNS))


if __name__ == "__main__":
    main()
