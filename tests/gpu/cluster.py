"""A one-node Slurm cluster on this node's own GPUs, beside whatever Slurm the node belongs to.

Real daemons, cgroups and device files; namespaces keep the rest apart (see ``init``). The project is
installed by ``make install`` into a temporary folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Optional

from namespaces import end

ROOT = Path(__file__).resolve().parents[2]
INIT = Path(__file__).with_name("init")
GROUP = Path("/sys/fs/cgroup/numa-align-gpu")
#: Inside: where the folder of configuration, program and logs is.
FOLDER = "/run/cluster"
PREFIX = f"{FOLDER}/install"
READY_LIMIT = 60.0

#: A user without rights, whom every system has.
NOBODY = 65534

#: Settings that do not concern numa-align; `numa-align conf` writes the rest.
SLURM_CONF = f"""\
ClusterName=gpu
SlurmctldHost=node1(10.11.12.1)
SlurmUser=root
StateSaveLocation=/run/spool
SlurmdSpoolDir=/run/spool/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile={FOLDER}/slurmctld.log
SlurmdLogFile={FOLDER}/slurmd.log
MailProg=/bin/true
MpiDefault=none
ReturnToService=2
SchedulerParameters=batch_sched_delay=0
PartitionName=main Nodes=node1 Default=YES MaxTime=INFINITE State=UP
"""

#: The parts, and what is put before the generated text. Without systemd slurmd must not ask it for a scope.
PARTS = {
    "slurm": SLURM_CONF,
    "gres": "",
    "cgroup": "CgroupPlugin=cgroup/v2\nIgnoreSystemd=yes\n",
    "plugstack": "",
}


class ClusterError(RuntimeError):
    """The cluster did not come up; the message says where."""


def why_not() -> Optional[str]:
    """Why this host cannot run the cluster, None if it can."""
    if os.geteuid() != 0:
        return "Slurm on this node's GPUs needs root, for namespaces and cgroups"
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "Slurm on this node's GPUs needs cgroup v2"
    missing = [p for p in ("munged", "slurmctld", "slurmd", "srun", "make", "ip") if not shutil.which(p)]
    return f"not installed here: {', '.join(missing)}" if missing else None


class Cluster:
    """``with Cluster() as cluster: cluster.run("srun …")``."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.folder = Path(tempfile.mkdtemp(prefix="numa-align-gpu-"))
        self._outer: Optional[subprocess.Popen[bytes]] = None
        self._pid = 0

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self.folder.chmod(0o755)
        self._install()
        begin = time.monotonic()
        spaces = ["--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc"]
        self._outer = subprocess.Popen(
            ["unshare", *spaces, str(INIT), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._outer.stdout is not None
        if self._outer.stdout.readline() != b"ready\n":
            raise ClusterError("namespaces or cgroups failed; what did is above")
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text(
            encoding="ascii"
        )
        self._pid = int(children.split()[0])
        self._configure()
        self._start_daemons()
        self.seconds = time.monotonic() - begin

    def _install(self) -> None:
        """The program with the Python that runs the tests, since that one has what it needs."""
        words = [
            "make",
            "-s",
            "install",
            f"PREFIX={PREFIX}",
            f"SYSCONFDIR={PREFIX}/etc",
            f"PYTHON={sys.executable}",
        ]
        stage = self.folder / "stage"
        subprocess.run([*words, f"DESTDIR={stage}"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        (stage / PREFIX.lstrip("/")).rename(self.folder / "install")

    def _configure(self) -> None:
        """By `numa-align conf`, as an administrator would."""
        for part, before in PARTS.items():
            words = [sys.executable, "-m", "numa_align", "conf", part, "--node=node1", f"--prefix={PREFIX}"]
            made = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
            (self.folder / f"{part}.conf").write_text(before + made.stdout, encoding="utf-8")

    def _start_daemons(self) -> None:
        key = "/run/munge/key"
        files = " ".join(f"--{name}-file=/run/munge/{name}" for name in ("pid", "log", "seed"))
        self.run(
            f"head -c 128 /dev/urandom >{key} && chmod 400 {key} && munged --force --key-file={key} {files}",
            check=True,
        )
        for daemon in ("slurmctld", "slurmd"):
            self.run(daemon, check=True)
        until = time.monotonic() + READY_LIMIT
        while self.run("sinfo -h -o %T").stdout.strip() != "idle":
            if time.monotonic() > until:
                raise ClusterError(f"the node is not idle after {READY_LIMIT:g} s\n{self.logs()}")
            time.sleep(0.2)

    def run(
        self,
        command: str,
        *,
        user: int = 0,
        env: Optional[Mapping[str, str]] = None,
        timeout: float = 180.0,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of shell inside; raises ClusterError with the daemons' logs on failure."""
        done = subprocess.run(
            self.inside(command, user),
            env={**self.environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise ClusterError(
                f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}\n{self.logs()}"
            )
        return done

    def inside(self, command: str, user: int = 0) -> list[str]:
        """The words that run a line of shell inside."""
        spaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"]
        words = ["nsenter", f"--target={self._pid}", *spaces, "-S", str(user), "-G", str(user), "--wdns=/tmp"]
        # Into the cgroup first: a cgroup namespace can only be entered from inside that cgroup.
        join = f'echo 0 >{GROUP}/init.scope/cgroup.procs && exec "$@"'
        return ["sh", "-c", join, "sh", *words, "--", "sh", "-c", command]

    def start(self, command: str, *, user: int = 0) -> subprocess.Popen[str]:
        """Start a line of shell inside and go on; the caller ends it."""
        return subprocess.Popen(
            self.inside(f"exec {command}", user),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )

    def await_jobs(self, count: int) -> None:
        """Wait until so many jobs run, and none is ending."""
        until = time.monotonic() + READY_LIMIT
        while self.run("squeue -h -o %T", check=True).stdout.split() != ["RUNNING"] * count:
            if time.monotonic() > until:
                raise ClusterError(f"not {count} jobs after {READY_LIMIT:g} s\n{self.logs()}")
            time.sleep(0.2)

    def put(self, name: str, content: bytes) -> None:
        """A file in FOLDER that everybody can read."""
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o644)

    def environment(self) -> dict[str, str]:
        """What a user's shell has; of the caller's only what programs of the GPU need."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("NCCL_", "NVSHMEM_", "TORCH_")) or name == "LD_LIBRARY_PATH"
        }
        system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {
            **kept,
            "PATH": f"{PREFIX}/bin:{Path(sys.executable).parent}:{system}",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "SLURM_CONF": f"{FOLDER}/slurm.conf",
        }

    def logs(self, lines: int = 30) -> str:
        """The ends of the daemons' logs."""
        found = sorted(self.folder.glob("*.log"))
        texts = [(path.name, path.read_text(encoding="utf-8", errors="replace")) for path in found]
        return "\n".join(f"-- {name}\n" + "\n".join(text.splitlines()[-lines:]) for name, text in texts)

    def stop(self) -> None:
        """Remove everything; stopping twice is harmless."""
        outer, self._outer, self._pid = self._outer, None, 0
        if outer is not None:
            end(outer)
        for folder in sorted(GROUP.glob("**/"), reverse=True):
            folder.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)
