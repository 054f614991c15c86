"""Two machines on one cable with one Slurm, for jobs that span nodes of different shapes."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import progress as progress_module
from .cache import Cache
from .context import Started
from .guest import Command, Result
from .hardware import Hardware
from .machine import SLURM, SLURM_LIMIT, EmulatedMachine, bring_up
from .progress import Progress
from .qemu import Link
from .slurm import SlurmConfig


class Cluster(Started):
    """`with Cluster((one, other)) as cluster:` node1 runs slurmctld too; `machines` are there one by one."""

    def __init__(
        self,
        topologies: Sequence[Hardware],
        slurm: str = "24.11",
        *,
        project: Path | None = None,
        config: SlurmConfig | None = None,
        cgroup: int = 2,
        cache: Cache | None = None,
        progress: Progress = progress_module.to_stderr,
    ) -> None:
        if len(topologies) != 2:
            raise ValueError("a cluster has two machines, the ends of its one cable")
        self.config = config if config is not None else SlurmConfig()
        self._folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.machines = tuple(
            EmulatedMachine(
                topology,
                slurm,
                project=project,
                config=self.config,
                cgroup=cgroup,
                name=f"node{number}",
                cache=cache,
                progress=progress,
                link=Link(self._folder / "link", number),
            )
            for number, topology in enumerate(topologies, 1)
        )

    def start_all(self) -> None:
        self._boot()
        self.configure(self.config)

    def _boot(self) -> None:
        """Both at once, as booting leaves CPUs idle; the first begins, since the second connects to its
        socket."""
        first, second = self.machines
        with ThreadPoolExecutor(2) as pool:
            begun = pool.submit(first.boot)
            while not begun.done() and not (self._folder / "link").exists():
                time.sleep(0.02)
            other = pool.submit(second.boot)
            begun.result()
            other.result()

    def configure(self, config: SlurmConfig, timeout: float = SLURM_LIMIT) -> None:
        """Machine.configure for both."""
        bring_up(self.machines, config, timeout)
        self.config = config

    def settle(self, timeout: float = SLURM_LIMIT) -> None:
        """Wait until both nodes are idle."""
        self.run([SLURM, "await"], timeout=timeout, check=True)

    def run(
        self, command: Command, *, user: str = "root", timeout: float = 120.0, check: bool = False
    ) -> Result:
        """Run a command on node1."""
        return self.machines[0].run(command, user=user, timeout=timeout, check=check)

    def stop(self) -> None:
        """Take both away."""
        for machine in self.machines:
            machine.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
