"""A booted machine with a running one-node cluster: what tests and people use."""

from __future__ import annotations

import atexit
import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import progress as progress_module
from . import saved
from .cache import Cache
from .context import Started
from .guest import Command, CommandError, Guest, Running, Runs
from .hardware import Hardware
from .image import KERNEL, image_for
from .layer import Layer, layer_disk
from .progress import Progress
from .project import build_project
from .qemu import Link, Qemu, QemuError, accelerator, boot_arguments
from .slurm import Node, SlurmConfig

BOOT_LIMIT = 240.0
SLURM_LIMIT = 240.0
#: A saved machine is up in two seconds; one that is not by then never will be.
WAKE_LIMIT = 30.0
BOOTS = SAVES = 3

CLOCK_TRIAL = 1.0
"""Seconds over which a booted guest's clock is compared with the host's."""

CLOCK_ERROR = 1.3
"""How many times too fast or too slow the clock may seem to be; one was four times too fast."""

ADDRESS = "10.11.12.{}"
"""Of the machine with that number."""

SLURM = "/usr/lib/machine/slurm"

JOBS_OF_ONE_CONFIGURATION = 1000


class EmulatedMachine(Started, Runs):
    """`with EmulatedMachine(...) as machine:` boots it, brings Slurm up, and takes it away afterwards."""

    def __init__(
        self,
        topology: Hardware | None = None,
        slurm: str = "24.11",
        *,
        project: Path | None = None,
        config: SlurmConfig | None = None,
        cgroup: int = 2,
        name: str = "node1",
        cache: Cache | None = None,
        progress: Progress = progress_module.to_stderr,
        resume: bool = True,
        link: Link | None = None,
        layer: Layer | None = None,
    ) -> None:
        """`resume` takes a machine of this shape that was booted before from the cache (module saved);
        `layer` is what this machine has installed beyond the image."""
        if cgroup not in (1, 2) or (cgroup == 1 and slurm != "22.05"):
            raise ValueError(
                "cgroup is 1 or 2, and 1 only with Slurm 22.05: later Debian kernels lack its controllers"
            )
        self.topology = topology if topology is not None else Hardware()
        self.slurm = slurm
        self.project = project
        self.config = config if config is not None else SlurmConfig()
        self.cgroup = cgroup
        self.name = name
        self.cache = cache if cache is not None else Cache()
        self.progress = progress
        self.resume = resume
        self.link = link
        self.layer = layer
        self.configurations = 0
        self._qemu: Qemu | None = None
        self._guest: Guest | None = None

    def start_all(self) -> None:
        """Again if the emulator fails: the first daemons have the kernel patch its code as well."""
        for attempt in range(1, BOOTS + 1):
            try:
                self.boot()
                self.configure(self.config)
                return
            except QemuError:
                if attempt == BOOTS or self._qemu is None or not self._qemu.crashed():
                    raise
                self.progress(f"the emulator has failed; starting {self.name} again")
                self.stop()

    @property
    def guest(self) -> Guest:
        if self._guest is None:
            raise RuntimeError("the machine is not booted")
        return self._guest

    @property
    def qemu(self) -> Qemu:
        if self._qemu is None:
            raise RuntimeError("the machine is not booted")
        return self._qemu

    @property
    def node(self) -> Node:
        number = self.link.number if self.link is not None else 1
        return Node(self.name, ADDRESS.format(number), self.topology)

    def boot(self) -> None:
        """Have QEMU run, with the guest ready, its GPUs there and the project installed. Slurm does not run
        yet."""
        kernel = self.layer.kernel if self.layer is not None else KERNEL
        image = image_for(self.slurm, self.cache, self.progress, kernel)
        payload = build_project(self.project, image, self.cache, self.progress) if self.project else None
        layer = layer_disk(self.layer, image, self.cache, self.progress) if self.layer else None
        words = f"machine.name={self.name} machine.address={self.node.address} machine.cgroup={self.cgroup}"
        if self.link is not None:
            words += " machine.link=1"
        accelerated = accelerator(image, self.cache)
        arguments = boot_arguments(image, self.topology, words, accelerated, link=self.link, layer=layer)
        begin = time.monotonic()
        state = None
        if self.resume and self.link is None:
            key = saved.key_of(arguments, self.topology, image.key)
            entry = self.cache.entry("saved", key, lambda scratch: self._save(arguments, scratch), saved.KEPT)
            state = entry / "state"
        if state is not None and state.exists():
            self._resume(arguments, state)
        else:
            self._boot(arguments)
        if payload is not None:
            self.guest.unpack(payload.read_bytes())
        self.progress(f"{self.name} is up after {time.monotonic() - begin:.1f} s")

    def _boot(self, arguments: Sequence[str]) -> None:
        shape = f"{self.topology.cpus} CPUs, {self.topology.nodes} NUMA nodes"
        self.progress(f"booting {self.name}: {shape}, Slurm {self.slurm}")
        for attempt in range(1, BOOTS + 1):
            self._start_qemu(arguments)
            try:
                self.guest.connect(BOOT_LIMIT)
                self._check_clock()
                self._use_network()
                break
            except QemuError:
                # QEMU 7.2 crashes now and then while it emulates a boot, or breaks its guest; a guest that
                # panics for any other reason is none of that.
                if attempt == BOOTS or (self.qemu.ended() and not self.qemu.crashed()):
                    raise
                self.progress(f"the emulator has failed; booting {self.name} again")
                self.stop()
        self._add_gpus()

    def _check_clock(self) -> None:
        """Raise if the guest's clock is far off: on a busy host the kernel can measure a wrong frequency of
        the TSC at boot, and every time limit in the guest is wrong from then on."""
        times = []
        for pause in (CLOCK_TRIAL, 0.0):
            begin = time.monotonic()
            uptime = self.guest.run(["cat", "/proc/uptime"], check=True).stdout
            times.append((begin, float(uptime.split()[0]), time.monotonic()))
            time.sleep(pause)
        (begin, first, done), (begin_again, second, done_again) = times
        if not (begin_again - done) / CLOCK_ERROR < second - first < (done_again - begin) * CLOCK_ERROR:
            raise QemuError(f"{second - first:.2f} s of the guest are {begin_again - done:.2f} s of the host")

    def _use_network(self) -> None:
        """The kernel patches its code at the first connection, which an emulated CPU may not survive
        (qemu.PATCHED): better before the machine is saved than whenever one wakes up."""
        self.guest.run("exec 3<>/dev/tcp/127.0.0.1/9")

    def _save(self, arguments: Sequence[str], folder: Path) -> None:
        """A state that is known to wake up; none, if a few have not."""
        state = folder / "state"
        for _ in range(SAVES):
            try:
                self._boot(arguments)
                saved.save(self.qemu, state)
            finally:
                self.stop()
            if self._wakes_up(arguments, state):
                return
            self.progress(f"{self.name} does not wake up from what was saved of it")
        state.unlink()

    def _wakes_up(self, arguments: Sequence[str], state: Path) -> bool:
        """Whether every CPU's timer goes on: one of them may not, most often with Linux 6.1 and QEMU 10."""
        sleeps = "".join(f"taskset -c {cpu} sleep 0.05 & " for cpu in range(self.topology.cpus))
        try:
            self._resume(arguments, state, WAKE_LIMIT)
            self.guest.run(f"{sleeps} wait", timeout=WAKE_LIMIT, check=True)
        except (CommandError, QemuError, TimeoutError):
            return False
        finally:
            self.stop()
        return True

    def _resume(self, arguments: Sequence[str], state: Path, limit: float = BOOT_LIMIT) -> None:
        """The guest's clock stood still while it was saved."""
        self._start_qemu([*arguments, *saved.resume_arguments(state)])
        saved.await_running(self.qemu)
        self.guest.connect(limit)
        self.guest.run(["date", "--set", f"@{time.time():.3f}"], check=True)

    def _start_qemu(self, arguments: Sequence[str]) -> None:
        self._qemu = Qemu(arguments)
        atexit.register(self.stop)
        self._guest = Guest(self._qemu.agent_socket, self._qemu.check, self.evidence)

    def _add_gpus(self) -> None:
        """Device files and the driver's files. /proc/driver is a folder of every kernel, so a tmpfs fits over
        it."""
        gpus = self.topology.gpu_table()
        nodes = [f"mknod -m 666 {gpu.device} c 195 {gpu.minor}" for gpu in gpus]
        nodes.append("mknod -m 666 /dev/nvidiactl c 195 255")
        self.guest.run("mount -t tmpfs -o mode=755 driver /proc/driver && " + " && ".join(nodes), check=True)
        self.guest.put({f"/proc/driver/{path}": text for path, text in self.topology.gpu_files().items()})

    def configure(self, config: SlurmConfig, timeout: float = SLURM_LIMIT) -> None:
        """Make this the cluster's configuration: write the files, restart the daemons, wait for idle."""
        bring_up([self], config, timeout)

    def settle(self, timeout: float = SLURM_LIMIT) -> None:
        """Wait until the node is idle, with no job left on it."""
        self.run([SLURM, "await"], timeout=timeout, check=True)

    def stop(self) -> None:
        """Remove the machine; stopping twice is harmless."""
        atexit.unregister(self.stop)
        guest, self._guest = self._guest, None
        qemu, self._qemu = self._qemu, None
        if guest is not None:
            guest.disconnect()
        if qemu is not None:
            qemu.stop()

    def logs(self, lines: int = 40) -> str:
        """The ends of the daemons' logs."""
        return self.guest.run([SLURM, "log", str(lines)], timeout=30).stdout

    def evidence(self) -> str:
        """What a failed command's transcript ends with; never raises, as an error is under way already."""
        with contextlib.suppress(Exception):
            return self.logs()
        return self._qemu.said() if self._qemu is not None else ""

    def start(
        self,
        command: Command,
        *,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: str | bytes | None = None,
    ) -> Running:
        """Guest.start."""
        return self.guest.start(command, user=user, env=env, cwd=cwd, stdin=stdin)

    def put(self, files: Mapping[str, str | bytes], *, mode: int = 0o644, user: str = "root") -> None:
        """Guest.put."""
        self.guest.put(files, mode=mode, user=user)

    def copy_in(self, source: Path, target: str) -> None:
        """Guest.copy_in."""
        self.guest.copy_in(source, target)

    def copy_out(self, source: str, target: Path) -> None:
        """Guest.copy_out."""
        self.guest.copy_out(source, target)


def bring_up(machines: Sequence[EmulatedMachine], config: SlurmConfig, timeout: float) -> None:
    """Make a cluster of machines, the first of which gets slurmctld, and wait until all nodes are idle."""
    begin = time.monotonic()
    first = machines[0]
    nodes = [machine.node for machine in machines]
    files = config.files(
        nodes,
        cgroup=first.cgroup,
        with_project=first.project is not None,
        first_job=1 + first.configurations * JOBS_OF_ONE_CONFIGURATION,
    )
    first.configurations += 1
    files["/etc/hosts"] = "127.0.0.1 localhost\n" + "".join(f"{node.address} {node.name}\n" for node in nodes)
    for machine in machines:
        machine.run([SLURM, "stop"], check=True)
        machine.put(files)
        machine.config = config
    for machine in machines:
        daemons = ["slurmctld", "slurmd"] if machine is first else ["slurmd"]
        machine.run([SLURM, "start", *daemons], timeout=timeout, check=True)
    first.run([SLURM, "await"], timeout=timeout, check=True)
    first.progress(f"Slurm {first.slurm} is ready after {time.monotonic() - begin:.1f} s")
