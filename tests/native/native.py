"""A one-node cluster of real Slurm daemons on the host's own CPUs.

It runs the same Debian trees as the QEMU machine, chrooted, with memory laid over them, in mount, PID,
network, UTS and IPC namespaces: nothing is installed on the host, nothing of it is written to, and nothing
is left however the test ends. GPUs are device files nobody opens and the driver's text files, both fakes.
The host's NUMA nodes are the real ones, usually a single one, and cgroups are not used.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from machine import CommandError, CommandTimeoutError, Hardware, Result, SlurmConfig
from machine.cache import Cache
from machine.context import Started
from machine.guest import PATH, USERS, Command
from machine.image import GUEST_FILES, Image, image_for
from machine.machine import SLURM
from machine.progress import Progress, to_stderr
from machine.project import build_project
from machine.slurm import Node
from namespaces import end

from .own_slurm import own_slurm

INIT = Path(__file__).with_name("init")
READY_LIMIT = 30.0
SLURM_LIMIT = 60.0
JOBS_OF_ONE_CONFIGURATION = 10_000

#: What Slurm can be on a host whose cgroups are not ours.
WITHOUT_CGROUPS = SlurmConfig(task_plugin="task/affinity", proctrack="proctrack/linuxproc", gres_cores=False)


class NativeError(RuntimeError):
    """The cluster did not come up; the message says where."""


def why_not() -> str | None:
    """Why this host cannot run a native cluster, None if it can."""
    if os.geteuid() != 0:
        return "a native cluster needs root, for namespaces and mounts"
    if "overlay" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        return "a native cluster needs the kernel's overlay file system (modprobe overlay)"
    return None


def image_here(slurm: str, cache: Cache, progress: Progress) -> Image:
    """The site's Slurm, if SLURM= names one of this release; otherwise Debian's."""
    own = own_slurm()
    return own.image() if own is not None and own.release == slurm else image_for(slurm, cache, progress)


def own_arguments(slurm: str) -> list[str]:
    """What `init` is told of the site's Slurm."""
    own = own_slurm()
    return [own.prefix, own.conf] if own is not None and own.release == slurm else []


class Native(Started):
    """`with Native(...) as native:` starts munged, slurmctld and slurmd, and takes them away afterwards."""

    def __init__(
        self,
        slurm: str = "24.11",
        *,
        project: Path | None = None,
        config: SlurmConfig = WITHOUT_CGROUPS,
        gpus: int = 8,
        cache: Cache | None = None,
        progress: Progress = to_stderr,
    ) -> None:
        self.slurm = slurm
        self.project = project
        self.config = config
        self.gpus = gpus
        self.cache = cache if cache is not None else Cache()
        self.progress = progress
        self.topology = Hardware(packages=1, cores_per_node=1, gpus=(0,) * gpus)
        self.configurations = 0
        self._outer: subprocess.Popen[bytes] | None = None
        self._pid = 0

    @property
    def pid(self) -> int:
        """The number on the host of the cluster's PID 1, 0 if it is not running."""
        return self._pid

    def start_all(self) -> None:
        self._start()
        self.configure(self.config)

    def _start(self) -> None:
        image = image_here(self.slurm, self.cache, self.progress)
        payload = build_project(self.project, image, self.cache, self.progress) if self.project else None
        spaces = ["--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc"]
        self._outer = subprocess.Popen(
            ["unshare", *spaces, "sh", str(INIT), str(image.tree), *own_arguments(self.slurm)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # ^C is for pytest, which then stops us in order
        )
        assert self._outer.stdout is not None and self._outer.stderr is not None
        if self._outer.stdout.readline() != b"ready\n":
            raise NativeError(f"no native cluster: {self._outer.stderr.read().decode(errors='replace')}")
        self._pid = psutil.Process(self._outer.pid).children()[0].pid
        if payload is not None:
            self._command(["tar", "-xz", "-C", "/"], stdin=payload.read_bytes(), check=True)
        self.put({SLURM: (GUEST_FILES / "slurm").read_bytes()}, mode=0o755)
        self.topology = self._read_topology()
        self._add_gpus()

    def _read_topology(self) -> Hardware:
        """The host as slurmd sees it, since slurm.conf must not promise more."""
        line = self.run("slurmd -C", check=True).stdout.splitlines()[0]
        words = dict(word.partition("=")[::2] for word in line.split())
        sockets = int(words["Boards"]) * int(words["SocketsPerBoard"])
        return Hardware(
            packages=sockets,
            cores_per_node=int(words["CoresPerSocket"]),
            threads=int(words["ThreadsPerCore"]),
            memory=int(words["RealMemory"]) // sockets,
            gpus=(0,) * self.gpus,
        )

    def _add_gpus(self) -> None:
        """On a host with one NUMA node the resolver puts a GPU that sysfs does not know on that node."""
        for gpu in self.topology.gpu_table():
            self.run(f"mknod -m 666 {gpu.device} c 195 {gpu.minor}", check=True)
        self.put({f"/proc/driver/{path}": text for path, text in self.topology.gpu_files().items()})

    def configure(self, config: SlurmConfig) -> None:
        """Make this the cluster's configuration: write the files, restart the daemons, wait for idle."""
        node = Node("node1", "10.11.12.1", self.topology)
        first_job = 1 + self.configurations * JOBS_OF_ONE_CONFIGURATION
        files = config.files([node], with_project=self.project is not None, first_job=first_job)
        self.configurations += 1
        # 22.05 cannot turn it off, but its v1 plugin does nothing unless another plugin asks.
        plugin = "cgroup/v1" if self.slurm == "22.05" else "disabled"
        files["/etc/slurm/cgroup.conf"] = f"CgroupPlugin={plugin}\n"
        files["/etc/hosts"] = "127.0.0.1 localhost\n10.11.12.1 node1\n"
        begin = time.monotonic()
        self.run([SLURM, "stop"])
        self.put(files)
        self.config = config
        self.run([SLURM, "start", "slurmctld", "slurmd"], timeout=SLURM_LIMIT, check=True)
        self.settle()
        self.progress(f"native Slurm {self.slurm} is ready after {time.monotonic() - begin:.1f} s")

    def settle(self) -> None:
        """Wait until the node is idle, with no job left on it."""
        self.run([SLURM, "await", "node1"], timeout=SLURM_LIMIT, check=True)

    def run(
        self,
        command: Command,
        *,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        cwd: str = "/tmp",
        stdin: str | bytes | None = None,
        timeout: float = 120.0,
        check: bool = False,
    ) -> Result:
        """Run words, or a text for bash, inside; raises CommandError with the daemons' logs on failure."""
        words = ["bash", "-c", command] if isinstance(command, str) else list(command)
        data = stdin.encode() if isinstance(stdin, str) else stdin
        return self._command(words, user=user, env=env, cwd=cwd, stdin=data, timeout=timeout, check=check)

    def start(self, words: Sequence[str], *, user: str = "root") -> subprocess.Popen[bytes]:
        """Start a program inside and go on; the caller ends it."""
        return subprocess.Popen(
            self._inside(words, user, "/tmp"),
            env=self._environment(user, None),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _inside(self, words: Sequence[str], user: str, cwd: str) -> list[str]:
        if not self._pid:
            raise NativeError("the native cluster is not running")
        number = str(USERS[user])
        spaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--root", f"--wdns={cwd}"]
        return ["nsenter", "--target", str(self._pid), *spaces, "-S", number, "-G", number, "--", *words]

    def _environment(self, user: str, env: Mapping[str, str] | None) -> dict[str, str]:
        home = "/root" if user == "root" else f"/home/{user}"
        return {"PATH": PATH, "HOME": home, "USER": user, "LANG": "C.UTF-8", **(env or {})}

    def _command(
        self,
        words: Sequence[str],
        *,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: bytes | None = None,
        timeout: float = 120.0,
        check: bool = False,
    ) -> Result:
        begin = time.monotonic()
        process = subprocess.Popen(
            self._inside(words, user, cwd),
            env=self._environment(user, env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        late = False
        try:
            out, err = process.communicate(stdin or b"", timeout=timeout)
        except subprocess.TimeoutExpired:
            late = True
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        said = words[-1] if words[0] == "bash" else " ".join(words)
        text = (out.decode(errors="replace"), err.decode(errors="replace"))
        result = Result(said, user, status, *text, time.monotonic() - begin)
        if late:
            raise CommandTimeoutError(result, f"not done after {timeout:g} s", self.logs())
        if check and status:
            raise CommandError(result, f"status {status}", self.logs())
        return result

    def logs(self, lines: int = 40) -> str:
        """The ends of the daemons' logs."""
        return self._command([SLURM, "log", str(lines)], timeout=20).stdout

    def put(self, files: Mapping[str, str | bytes], *, mode: int = 0o644) -> None:
        """Write files inside, with the folders they need."""
        root = Path(f"/proc/{self._pid}/root")
        for name, content in files.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            path.chmod(mode)

    def stop(self) -> None:
        """Remove everything; stopping twice is harmless."""
        outer, self._outer, self._pid = self._outer, None, 0
        if outer is not None:
            end(outer)
