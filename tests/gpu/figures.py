"""Figures of this machine, as Markdown: what it is, and what the prolog costs with and without NVML.

cd tests && python3 -m gpu.figures        (as root)
"""

from __future__ import annotations

import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Optional

from bench.parts import COLUMNS, build_plugin, medians
from numa_align.cpulist import format_cpulist
from numa_align.topology.read import read_here

from gpu.cluster import FOLDER, NOBODY, PREFIX, Cluster, why_not
from gpu.driver import by_nvml, driver_version, hiding

ROUNDS, COLD_ROUNDS = 21, 7
#: Rounds of a step by its number of tasks.
STEP_ROUNDS = {8: 200, 64: 40, 128: 20}
PART_ROUNDS = 30
PACKAGE = Path(__file__).resolve().parents[2] / "prolog"


def machine() -> Iterator[str]:
    """The machine that was measured."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    topology = read_here()
    nodes = ", ".join(f"{node.id}: CPUs {format_cpulist(node.cpus)}" for node in topology.nodes)
    yield f"{len(topology.gpus)} x {by_nvml()[0].name}, driver {driver_version()}"
    for gpu in topology.gpus:
        said = Path(f"/sys/bus/pci/devices/{gpu.bdf}/numa_node").read_text().strip()
        yield f"GPU {gpu.bdf}, minor {gpu.minor}: numa_node {said}; ours: node {gpu.node}, {gpu.source}"
    model = cpu[0].partition(": ")[2] if cpu else "unknown"
    yield f"Linux {platform.release()}, {len(topology.online)} CPUs ({model})"
    yield f"NUMA nodes: {nodes}"
    torch = import_module("torch")
    yield f"Python {platform.python_version()}, PyTorch {torch.__version__}"


def times(
    command: list[str],
    *,
    cold: bool = False,
    rounds: int = 0,
    env: Optional[Mapping[str, str]] = None,
) -> list[float]:
    """Milliseconds of each round of a process."""
    found = []
    for _ in range(rounds or (COLD_ROUNDS if cold else ROUNDS)):
        if cold:
            os.sync()
            Path("/proc/sys/vm/drop_caches").write_text("3")
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
        found.append(1000 * (time.perf_counter() - begin))
    return found


def row(what: str, spent: list[float]) -> str:
    return f"| {what} | {statistics.median(spent):.1f} | {min(spent):.1f} | {max(spent):.1f} | {len(spent)} |"


def python(*flags: str) -> list[str]:
    """A process that reads the machine, as the prolog does, and with what else Python has without -S."""
    program = (
        f"import sys; sys.path.insert(0, {str(PACKAGE)!r})\n"
        "from numa_align.topology.read import read_here\n"
        "gpus = read_here().gpus\n"
        "sys.exit(0 if gpus else 1)"
    )
    return [sys.executable, *flags, "-c", program]


def readers() -> Iterator[tuple[str, list[str], Callable[[list[str]], list[str]]]]:
    def plain(command: list[str]) -> list[str]:
        return command

    yield "Python starts and ends (`-I -S`)", [sys.executable, "-I", "-S", "-c", "pass"], plain
    yield "resolver, driver's files (`-I -S`)", python("-I", "-S"), plain
    yield "Python starts and ends (`-I`)", [sys.executable, "-I", "-c", "pass"], plain
    yield "resolver, driver's files (`-I`)", python("-I"), plain
    yield "nothing, in a mount namespace", ["true"], hiding
    yield "resolver, NVML (`-I`), in a mount namespace", python("-I"), hiding
    yield "resolver, no files and no pynvml (`-I -S`), in a mount namespace", python("-I", "-S"), hiding


def prolog(cluster: Cluster) -> Iterator[str]:
    """The installed script as slurmd runs it, with the table that it writes."""
    inside = cluster.inside(f"SLURM_JOB_ID=1 exec {PREFIX}/sbin/numa-align-prolog")
    empty = cluster.inside("exec true")
    yield row("entering the namespaces alone, warm", times(empty))
    yield row("`numa-align-prolog`, warm", times(inside))
    yield row("entering the namespaces alone, cold", times(empty, cold=True))
    yield row("`numa-align-prolog`, cold", times(inside, cold=True))


def launch(cluster: Cluster) -> Iterator[str]:
    """What the option adds to a step, in interleaved rounds, and what the plugin itself reports."""
    lines = {
        "no option": "srun -n2 -c4 --gpus=2 true",
        "--numa-align": "srun --numa-align -n2 -c4 --gpus=2 true",
    }
    spent: dict[str, list[float]] = {name: [] for name in lines}
    for _ in range(ROUNDS):
        for name, line in lines.items():
            # One job after the other: a step must not wait for the previous job's epilog.
            cluster.await_jobs(0)
            spent[name] += times(cluster.inside(line, NOBODY), rounds=1, env=cluster.environment())
    for name, line in lines.items():
        yield row(f"`{line}`", spent[name])
    said = [
        cluster.run("srun --numa-align=verbose -n2 -c4 --gpus=2 true", user=NOBODY, check=True).stderr
        for _ in range(5)
    ]
    yield "\nCPU time in the plugin, us a task: " + ", ".join(re.findall(r"(\d+) us", "".join(said)))


@contextmanager
def allocated(cluster: Cluster, words: str) -> Iterator[str]:
    """A running job, by its number."""
    said = cluster.run(f"salloc --no-shell {words}", user=NOBODY, check=True).stderr
    job = said.rpartition("job allocation ")[2].split()[0]
    yield job
    cluster.run(f"scancel {job}", check=True)
    cluster.await_jobs(0)


def steps(cluster: Cluster, job: str, gpus: int, tasks: int) -> Iterator[str]:
    """A step of a running job, without its prolog; shuffled rounds, each with its ratio."""
    step = f"srun --jobid={job} -O -n{tasks} --gpus={gpus}"
    lines = {option: f"{step} {option} true" for option in ("", "--numa-align")}
    spent: dict[str, list[float]] = {option: [] for option in lines}
    for number in range(STEP_ROUNDS[tasks] + 1):
        for option in random.sample(list(lines), len(lines)):
            inside = cluster.inside(lines[option], NOBODY)
            (found,) = times(inside, rounds=1, env=cluster.environment())
            if number:  # the first round warms caches
                spent[option].append(found)
    for option, line in lines.items():
        yield row(f"`{line}`", spent[option])
    ratios = [asked / plain for plain, asked in zip(*spent.values())]
    first, median, third = statistics.quantiles(ratios, n=4)
    yield f"\nWith the option, ratio in each round: median {median:.3f}, quartiles {first:.3f}-{third:.3f}"


def parts(cluster: Cluster, job: str, gpus: int) -> Iterator[str]:
    """Where the time of a task goes, in microseconds of CPU time; the plugin is replaced meanwhile."""
    library = "install/lib/numa-align/numa-align.so"
    kept = (cluster.folder / library).rename(cluster.folder / "kept.so")  # slurmd has it mapped
    with tempfile.TemporaryDirectory() as name:
        cluster.put(library, build_plugin(Path(name), PACKAGE.parent / "spank"))
    yield f"\n| tasks | {' | '.join(COLUMNS)} |\n|{' --- |' * (1 + len(COLUMNS))}"
    for tasks in (2, 8, 32):
        line = f"srun --jobid={job} -O -n{tasks} --gpus={gpus} --numa-align true"
        said = medians(cluster.run(line, user=NOBODY, check=True).stderr for _ in range(PART_ROUNDS))
        yield f"| {tasks} | {' | '.join(f'{said[column]:.0f}' for column in COLUMNS)} |"
    kept.replace(cluster.folder / library)


def copies(cluster: Cluster, gpus: int) -> Iterator[str]:
    """Pinned copies of plain PyTorch, each rank with its own GPU and, by mistake, all with the first."""
    cluster.put("copies.py", Path(__file__).with_name("copies.py").read_bytes())
    program = f"{sys.executable} {FOLDER}/copies.py"
    yield "\n| pinned copies, 256 MiB, GB/s to the device and back | |\n| --- | --- |"
    for line in (
        "srun --numa-align -n1 -c4 --gpus=1",
        f"srun --numa-align -n{gpus} -c4 --gpus-per-task=1",
        f"srun --numa-align -n{gpus} -c4 --gpus={gpus} env SLURM_LOCALID=0",
    ):
        done = cluster.run(f"{line} {program}", user=NOBODY, check=True)
        found = [json.loads(text) for text in done.stdout.splitlines() if text.startswith("{")]
        ranks = sorted(found, key=lambda rank: int(rank["rank"]))
        yield f"| `{line}` | " + "; ".join(f"{r['to_device']:.1f} {r['to_host']:.1f}" for r in ranks) + " |"


def main() -> None:
    """Print everything."""
    for line in machine():
        print(f"- {line}")
    print("\n| what | median ms | min | max | rounds |\n| --- | --- | --- | --- | --- |", flush=True)
    for what, command, wrap in readers():
        print(row(f"{what}, warm", times(wrap(command))), flush=True)
    for what, command, wrap in readers():
        print(row(f"{what}, cold", times(wrap(command), cold=True)), flush=True)
    reason = why_not()
    if reason is not None:
        print(f"\nprolog not measured: {reason}")
        return
    with Cluster() as cluster:
        for line in prolog(cluster):
            print(line, flush=True)
        gpus = len(read_here().gpus)
        with allocated(cluster, f"-n8 --gpus={gpus}") as job:
            for tasks in STEP_ROUNDS:
                for line in steps(cluster, job, gpus, tasks):
                    print(line, flush=True)
            for line in parts(cluster, job, gpus):
                print(line, flush=True)
        if gpus > 1:
            for line in (*launch(cluster), *copies(cluster, 2)):
                print(line, flush=True)
        print(f"\nSlurm: {cluster.run('srun --version').stdout.strip()}, ready after {cluster.seconds:.1f} s")


if __name__ == "__main__":
    main()
