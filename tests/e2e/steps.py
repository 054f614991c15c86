"""Running steps in the machine and reading what the probe said."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Protocol

from machine import EmulatedMachine, Result

PROBE = "python3 -S -E /opt/probe.py"
PROBE_FILE = Path(__file__).with_name("probe.py")


class Runs(Protocol):
    """A machine in QEMU or a native cluster."""

    def run(self, command: str, *, user: str = ..., timeout: float = ..., check: bool = ...) -> Result:
        """Run a bash script inside."""


def put_probe(machine: EmulatedMachine) -> None:
    machine.copy_in(PROBE_FILE, "/opt/probe.py")


@contextlib.contextmanager
def allocated(cluster: Runs, options: str, *, user: str = "user") -> Iterator[str]:
    """The number of a job that runs nothing of its own; afterwards it is over, epilog and all."""
    said = cluster.run(f"salloc --no-shell {options}", user=user, check=True, timeout=120).stderr
    number = said.rpartition("job allocation ")[2].split()[0]
    try:
        yield number
    finally:
        gone = f'until [ -z "$(squeue --noheader --jobs={number} 2>/dev/null)" ]; do sleep 0.1; done'
        cluster.run(f"scancel {number}; {gone}", check=True, timeout=120)


def cpus(text: str) -> frozenset[int]:
    """The CPUs of a list in the kernel's format."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


@dataclass(frozen=True)
class Rank:
    """One task as the kernel described it; ``gpus`` are the minors it may open."""

    rank: int
    local: int
    cpus: frozenset[int]
    mode: str
    nodes: tuple[int, ...]
    pages: Mapping[int, int]
    gpus: tuple[int, ...]
    environment: Mapping[str, str]

    @classmethod
    def from_json(cls, line: str) -> Rank:
        data: dict[str, Any] = json.loads(line)
        return cls(
            rank=data["rank"],
            local=data["local"],
            cpus=cpus(data["cpus"]),
            mode=data["mode"],
            nodes=tuple(data["nodes"]),
            pages={int(node): count for node, count in data["pages"].items()},
            gpus=tuple(data["gpus"]),
            environment=data["environment"],
        )

    def pages_on(self, *nodes: int) -> float:
        """Share of the anonymous pages on these nodes."""
        return sum(self.pages.get(node, 0) for node in nodes) / sum(self.pages.values())


def ranks_of(result: Result) -> list[Rank]:
    """The ranks that a command printed, in order."""
    found = [Rank.from_json(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return sorted(found, key=lambda rank: rank.rank)


def step(
    machine: EmulatedMachine, command: str, *, user: str = "user", env: Optional[Mapping[str, str]] = None
) -> list[Rank]:
    """Run a command line that ends in running the probe; fails the test with its transcript."""
    return ranks_of(machine.run(command, user=user, env=env, cwd="/tmp", timeout=300, check=True))


ADVICE = "one task has GPUs on several NUMA nodes"


def warnings_of(result: Result) -> list[str]:
    """The lines that the plugin wrote to the user's stderr, without its advice for launchers."""
    return [line for line in result.stderr.splitlines() if "numa-align: " in line and ADVICE not in line]
