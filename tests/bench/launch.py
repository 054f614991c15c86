"""What the plugin costs: whole sruns as ratios, and its own CPU time per task and per step.

    python tests/bench/launch.py [--rounds 20] [--slurm 24.11]

Root; run in the repository. Slurm runs natively on this host (tests/native), since in an emulated machine
wall time says nothing. Rounds are interleaved and shuffled, so that what else the host does hits all
variants alike; ratios are medians of each round's own. CPU time is CLOCK_THREAD_CPUTIME_ID of the task,
as `verbose` prints it, and so does not depend on how busy the host is, apart from its caches.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from native import Native  # noqa: E402
from native.asking import plugstack  # noqa: E402
from native.native import WITHOUT_CGROUPS  # noqa: E402

PLUGIN = "optional /usr/lib/numa-align/numa-align.so\n"
VARIANTS = {
    "no plugin": ("# none\n", ""),
    "not asked": (PLUGIN, ""),
    "asked": (PLUGIN, "--numa-align"),
}
#: slurmstepd writes this to slurmd's log at level verbose; one line for each step.
LAST_BEGUN = "sed -n 's/.*step begun in \\([0-9]*\\) us.*/\\1/p' /var/log/slurm/slurmd.log | tail -n1"
TASKS = (1, 2, 4, 8, 16, 32, 64, 128)


def seconds_of(native: Native, job: str, variant: str) -> float:
    line, option = VARIANTS[variant]
    command = f"srun --jobid={job} -n8 -O --gpus=8 {option} /bin/true"
    with plugstack(native, line):
        begin = time.perf_counter()
        native.run(command.split(), user="user", check=True)
        return time.perf_counter() - begin


def compare(native: Native, job: str, rounds: int) -> None:
    """Wall time of whole sruns in one job: the prolog is not in it."""
    rows = []
    for number in range(rounds + 1):
        order = list(VARIANTS)
        random.shuffle(order)
        row = {variant: seconds_of(native, job, variant) for variant in order}
        if number:  # the first round warms caches
            rows.append(row)
    print(f"\nsrun -n8 --gpus=8 /bin/true, {rounds} shuffled rounds")
    print(f"{'':12}{'median s':>10}{'ratio':>8}{'quartiles':>16}{'fastest tenth s':>18}{'ratio':>8}")
    bases = fastest([row["no plugin"] for row in rows])
    for variant in VARIANTS:
        seconds = [row[variant] for row in rows]
        low, middle, high = statistics.quantiles([row[variant] / row["no plugin"] for row in rows], n=4)
        quick = fastest(seconds)
        print(
            f"{variant:12}{statistics.median(seconds):10.3f}{middle:8.3f}{low:9.3f}-{high:.3f}"
            f"{quick:18.3f}{quick / bases:8.3f}"
        )


def fastest(seconds: list[float]) -> float:
    """Mean of the fastest tenth: what a launch takes when the host does nothing else."""
    return statistics.mean(sorted(seconds)[: max(1, len(seconds) // 10)])


def cpu_time(native: Native, job: str, rounds: int) -> None:
    """Microseconds of slurm_spank_task_init in each task, and of all of them and user_init together."""
    print("\nCPU time of the plugin in slurmstepd, microseconds")
    print(f"{'tasks':>5}{'a task: median':>16}{'largest':>9}{'a step: begin':>15}")
    for tasks in TASKS:
        said: list[int] = []
        begun: list[int] = []
        for _ in range(max(1, rounds // 4)):
            command = f"srun --jobid={job} -n{tasks} -O --gpus=8 --numa-align=verbose /bin/true"
            text = native.run(command.split(), user="user", check=True).stderr
            said += [int(us) for us in re.findall(r"policy=\S+ (\d+) us", text)]
            begun.append(int(native.run(LAST_BEGUN, check=True).stdout))
        print(f"{tasks:5}{statistics.median(said):16.0f}{max(said):9}{statistics.median(begun):15.0f}")


def prolog_time(native: Native, rounds: int) -> None:
    """The prolog as slurmd starts it, with all that it starts, beside a script that does nothing."""
    native.put({"/opt/nothing": "#!/bin/sh\nexit 0\n"}, mode=0o755)
    env = {"SLURM_JOB_ID": "999999", "SLURM_JOB_GPUS": "0,1,2,3,4,5,6,7"}
    programs = ("/opt/nothing", "/usr/sbin/numa-align-prolog", "/usr/sbin/numa-align-epilog")
    wall: dict[str, list[float]] = {program: [] for program in programs}
    cpu: dict[str, list[float]] = {program: [] for program in programs}
    for _ in range(rounds):
        for program in programs:
            begin, used = time.perf_counter(), cpu_of_children()
            native.run([program], env=env, check=True)
            wall[program].append((time.perf_counter() - begin) * 1000)
            cpu[program].append((cpu_of_children() - used) * 1000)
    print("\nOnce a job and node, milliseconds more than a script that does nothing")
    print(f"{'':20}{'CPU time':>10}{'wall, fastest tenth':>22}")
    for program in programs[1:]:
        more_cpu = statistics.median(cpu[program]) - statistics.median(cpu[programs[0]])
        more_wall = fastest(wall[program]) - fastest(wall[programs[0]])
        print(f"{Path(program).name:20}{more_cpu:10.1f}{more_wall:22.1f}")


def cpu_of_children() -> float:
    """Seconds of CPU of all programs that have been waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--slurm", default="24.11")
    options = parser.parse_args()
    config = replace(WITHOUT_CGROUPS, slurm_extra=("SlurmdDebug=verbose",))
    with Native(options.slurm, project=ROOT, gpus=8, config=config) as native:
        load = Path("/proc/loadavg").read_text(encoding="ascii").split()[0]
        cpus = native.topology.cpus
        print(f"Slurm {options.slurm}, {cpus} CPUs, 8 GPUs, load {load} before the first round")
        result = native.run("salloc --no-shell -n1 --gpus=8", user="user", check=True)
        job = result.stderr.rpartition("job allocation ")[2].split()[0]
        compare(native, job, options.rounds)
        cpu_time(native, job, options.rounds)
        prolog_time(native, options.rounds)
        load = Path("/proc/loadavg").read_text(encoding="ascii").split()[0]
        print(f"\nload {load} after the last round")


if __name__ == "__main__":
    main()
