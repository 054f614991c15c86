"""Figures of this machine, as Markdown: what it is, and what the prolog costs with and without NVML.

cd tests && python3 -m gpu.figures        (as root)
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from numa_align.cpulist import format_cpulist
from numa_align.topology import read_topology

from gpu.cluster import PREFIX, Cluster, why_not
from gpu.driver import by_nvml, driver_version, hiding

ROUNDS, COLD_ROUNDS = 21, 7
PACKAGE = Path(__file__).resolve().parents[2] / "prolog"


def machine() -> Iterator[str]:
    """What was measured on."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    topology = read_topology()
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


def times(command: list[str], *, cold: bool = False) -> list[float]:
    """Milliseconds of each round of a process."""
    found = []
    for _ in range(COLD_ROUNDS if cold else ROUNDS):
        if cold:
            os.sync()
            Path("/proc/sys/vm/drop_caches").write_text("3")
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found.append(1000 * (time.perf_counter() - begin))
    return found


def row(what: str, spent: list[float]) -> str:
    return f"| {what} | {statistics.median(spent):.1f} | {min(spent):.1f} | {max(spent):.1f} | {len(spent)} |"


def python(*flags: str) -> list[str]:
    """A process that reads the machine, as the prolog does, and with what else Python has without -S."""
    program = (
        f"import sys; sys.path.insert(0, {str(PACKAGE)!r})\n"
        "from numa_align.topology import read_topology\n"
        "gpus = read_topology().gpus\n"
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
        print(f"\nSlurm: {cluster.run('srun --version').stdout.strip()}, ready after {cluster.seconds:.1f} s")


if __name__ == "__main__":
    main()
