"""Where the plugin's time in a task goes: CPU time by part, in microseconds, medians over tasks.

    python tests/bench/task.py [--plugin DIR] [--slurm 22.05 [--gpus 8] [--rounds 30]]

Without ``--slurm`` the hooks run as they are, compiled with the plugin's flags, in children that are forked
as slurmstepd forks tasks; what slurmstepd offers is faked, and devices are /dev/null. So page faults after
fork are in it, Slurm is not, and no root is needed. ``calls`` are the system calls for CPUs and memory;
``access`` is a part of ``devices``, and ``setenv``, Slurm's own function, one of ``report`` and ``programs``.
With ``--slurm`` a plugin with the same clocks runs in that Slurm, natively on this host (root, tests/native);
it has to be the one whose headers are installed.
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

from bench.parts import COLUMNS, WRAPPED, build_plugin, header, medians, row, wraps  # noqa: E402
from builder.machine import Machine, on_nodes  # noqa: E402
from e2e.steps import allocated  # noqa: E402
from machine import RELEASES  # noqa: E402
from native import Native  # noqa: E402
from native.asking import LIBRARY  # noqa: E402
from native.native import WITHOUT_CGROUPS  # noqa: E402
from numa_align.placement.table import format_table  # noqa: E402

ONLY_SIMULATED = ("faccessat", "na_table_read")
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
OF_STEP = ("step", "table")


def build(folder: Path, spank: Path) -> Path:
    program = folder / "task"
    sources = [*sorted(spank.glob("*.c")), *sorted((spank / "placement").glob("*.c"))]
    flags = ["-O2", "-Wl,-z,now", "-std=c11", "-D_GNU_SOURCE", f"-I{spank}"]
    files = [str(path) for path in sources if path.name != "plugin.c"]
    own = [str(HERE / name) for name in ("task.c", "parts.c")]
    command = ["cc", *flags, *wraps((*WRAPPED, *ONLY_SIMULATED)), "-o", str(program), *own, *files]
    subprocess.run(command, check=True)
    return program


def table(folder: Path, cores: int, gpus: int) -> Path:
    nodes = [gpu * 2 // gpus for gpu in range(gpus)]
    topology = Machine(packages=2, cores=cores, smt=2, gpus=on_nodes(*nodes)).topology()
    numbered = tuple(gpu._replace(index=number) for number, gpu in enumerate(topology.gpus))
    path = folder / "table"
    path.write_text(format_table(topology._replace(gpus=numbered), 1), encoding="ascii")
    return path


def simulated(spank: Path, folder: Path) -> None:
    program = build(folder, spank)
    print(f"{'CPUs':>5}{'GPUs':>5}{'tasks':>6}{header((*COLUMNS, *OF_STEP))}")
    for cores, gpus, tasks in SHAPES:
        command = [str(program), str(table(folder, cores, gpus)), str(gpus), str(tasks)]
        took = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print(f"{cores * 4:5}{gpus:5}{tasks:6}{row(took, (*COLUMNS, *OF_STEP))}")


def in_slurm(plugin: bytes, version: str, gpus: int, rounds: int) -> None:
    with (
        Native(version, project=ROOT, gpus=gpus, config=WITHOUT_CGROUPS) as native,
        allocated(native, f"-n1 --gpus={gpus}") as job,
    ):
        native.put({LIBRARY: plugin})
        print(f"{'GPUs':>5}{'tasks':>6}{header(COLUMNS)}")
        for tasks in (2, 8, 32):
            command = f"srun --jobid={job} -n{tasks} -O --gpus={gpus} --numa-align true"
            said = [native.run(command, user="user", check=True).stderr for _ in range(rounds)]
            print(f"{gpus:5}{tasks:6}{row(medians(said), COLUMNS)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plugin", type=Path, default=ROOT / "spank", help="the folder of its C files")
    parser.add_argument("--slurm", choices=RELEASES, help="in this Slurm, not simulated")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=30)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if chosen.slurm:
            plugin = build_plugin(Path(name), chosen.plugin.resolve())
            in_slurm(plugin, chosen.slurm, chosen.gpus, chosen.rounds)
        else:
            simulated(chosen.plugin, Path(name))


if __name__ == "__main__":
    main()
