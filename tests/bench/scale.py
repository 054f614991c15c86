"""Whether anything of the plugin grows: with the steps that a slurmd has started, or with the nodes of a job.

    python tests/bench/scale.py [--slurm 24.11] [--steps 300] [--at-once 30] [--nodes 1000] [--rounds 5]

Root; run in the repository. Slurm runs natively on this host (tests/native). First the memory and the file
descriptors of slurmd after so many steps in a row, and after so many at once. Then as many slurmd as
`--nodes` says beside one another, each a node with one CPU and all GPUs (`slurmd -N`), and steps of one task
each, without and with the option, in turns: wall time of srun, median of the rounds, and their ratio. What a
node of a real cluster does by itself is done here by two CPUs for all, so that only ratios tell anything.
Last, srun's own side: steps of one task where slurm.conf declares ten times as many nodes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from machine import SlurmConfig  # noqa: E402
from native import Native  # noqa: E402
from native.native import WITHOUT_CGROUPS  # noqa: E402
from native.test_many import slurmd_size  # noqa: E402

FIRST_PORT = 20000
OPTIONS = {"no option": "", "--numa-align": "--numa-align"}
PATIENCE = 600.0


class OneOfMany(Native):
    """A cluster that is ready once the node of this host is; the others are started later, or never."""

    def settle(self) -> None:
        self._until("sinfo -h -n node1 -o %T", "idle")

    def await_idle(self, partition: str, nodes: int) -> None:
        self._until(f"sinfo -h -p {partition} -t idle -o %D", str(nodes))

    def _until(self, question: str, answer: str) -> None:
        until = time.monotonic() + PATIENCE
        while self.run(question).stdout.split()[:1] != [answer]:
            if time.monotonic() > until:
                raise SystemExit(f"{question} does not say {answer} after {PATIENCE:g} s\n{self.logs()}")
            time.sleep(0.5)


def allocate(native: Native, words: str) -> str:
    result = native.run(f"salloc --no-shell {words}", user="user", timeout=PATIENCE, check=True)
    return result.stderr.rpartition("job allocation ")[2].split()[0]


def growth(native: Native, steps: int, at_once: int) -> None:
    """The first round is for what slurmd allocates once."""
    job = allocate(native, "-n1 --gpus=8")
    step = f"srun --jobid={job} -n1 -O --overlap --gpus=1 --numa-align true"
    rounds = {
        "20 steps": f"for i in $(seq 20); do {step}; done",
        f"{steps} more in a row": f"for i in $(seq {steps}); do {step}; done",
        f"{at_once} more at once": f"for i in $(seq {at_once}); do {step} & done; wait",
    }
    print("\n| slurmd after | file descriptors | own memory, MiB |\n| --- | --- | --- |")
    for name, line in rounds.items():
        native.run(line, user="user", timeout=PATIENCE, check=True)
        descriptors, memory = slurmd_size(native)
        print(f"| {name} | {descriptors} | {memory / 1024:.1f} |", flush=True)
    native.run(f"scancel {job}", check=True)
    native.settle()


def simulated(nodes: int) -> SlurmConfig:
    """So many slurmd on this host; %n keeps their files apart."""
    names = f"sim[1-{nodes}]"
    ports = f"[{FIRST_PORT + 1}-{FIRST_PORT + nodes}]"
    return replace(
        WITHOUT_CGROUPS,
        slurm_extra=(
            f"NodeName={names} NodeHostname=node1 NodeAddr=10.11.12.1 Port={ports} CPUs=1 Gres=gpu:8",
            f"PartitionName=sim Nodes={names} MaxTime=INFINITE State=UP",
            "SlurmdSpoolDir=/var/spool/slurmd/%n",
            "SlurmdPidFile=/run/slurmd.%n.pid",
            "SlurmdLogFile=/var/log/slurm/slurmd.%n.log",
            "SlurmdParameters=config_overrides",
            "TreeWidth=50",
        ),
        gres_extra=(f"NodeName={names} Name=gpu File=/dev/nvidia[0-7]",),
    )


def start_slurmds(native: OneOfMany, nodes: int) -> None:
    native.run(f"for i in $(seq {nodes}); do slurmd -N sim$i; done", timeout=PATIENCE, check=True)
    native.await_idle("sim", nodes)


def in_turns(native: Native, step: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of a step by option; the first round does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in OPTIONS}
    for number in range(rounds + 1):
        for name, option in OPTIONS.items():
            begin = time.perf_counter()
            native.run(f"{step} {option} true", user="user", timeout=PATIENCE, check=True)
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def row(what: str, seconds: dict[str, list[float]]) -> None:
    ratios = [asked / base for base, asked in zip(*seconds.values())]
    medians = [f"{statistics.median(own):.2f}" for own in seconds.values()]
    print(f"| {what} | {' | '.join(medians)} | {statistics.median(ratios):.3f} |", flush=True)


def many_nodes(native: OneOfMany, counts: Sequence[int], rounds: int) -> None:
    print(f"\n| | {', median s | '.join(OPTIONS)}, median s | median of ratios |\n| --- | --- | --- | --- |")
    start_slurmds(native, counts[-1])
    job = allocate(native, f"-p sim -N{counts[-1]} -n{counts[-1]} --gpus-per-node=1")
    for count in counts:
        step = f"srun --jobid={job} -N{count} -n{count} --gpus-per-node=1"
        row(f"a task on each of {count} nodes", in_turns(native, step, rounds))
    native.run(f"scancel {job}", check=True)
    native.run("pkill -f 'slurmd -N sim'")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--slurm", default="24.11")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=30)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with OneOfMany(options.slurm, project=ROOT, gpus=8) as native:
        print(f"Slurm {options.slurm}, {native.topology.cpus} CPUs")
        growth(native, options.steps, options.at_once)
        native.configure(simulated(options.nodes))
        many_nodes(native, sorted({1, max(1, options.nodes // 10), options.nodes}), options.rounds)
        far = f"NodeName=far[1-{10 * options.nodes}] NodeAddr=10.11.12.1 CPUs=1 State=DOWN"
        hidden = f"PartitionName=far Nodes=far[1-{10 * options.nodes}]"
        native.configure(replace(WITHOUT_CGROUPS, slurm_extra=(far, hidden)))
        job = allocate(native, "-n1 --gpus=8")
        step = f"srun --jobid={job} -n1 --gpus=1"
        row(
            f"one task, {10 * options.nodes} nodes in slurm.conf", in_turns(native, step, 10 * options.rounds)
        )


if __name__ == "__main__":
    main()
