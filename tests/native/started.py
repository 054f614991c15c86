"""slurmctld and slurmd, started on a machine that is a tree of files: how they take a site's files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from builder import Machine

from native import Native

from .slurmd_asked import HWLOC

SITE = "/asked/site"

#: What is replaced in slurm.conf: a cluster in namespaces has no cgroups of its own.
_CONFINED = re.compile(r"(?im)^[ \t]*(TaskPlugin|ProctrackType|JobAcctGatherType)[ \t]*=.*\n?")
_INSTEAD = (
    "TaskPlugin=task/affinity\nProctrackType=proctrack/linuxproc\nJobAcctGatherType=jobacct_gather/none\n"
)

# What has nothing to do with a site's files: Debian's Slurm without PMIx, the replacement above, a busy host.
_NOISE = re.compile(r"pmix|\bmpi\b|for pam_slurm_adopt|High latency for \d+ calls", re.IGNORECASE)

# What differs from one start to the next: time, process, port, job.
_PREFIX = re.compile(r"^\[[^\]]*\]\s*|\b\d+(?=\.\d)")


class Started(NamedTuple):
    """The node's state and reason, what is configured, and what both daemons complained of."""

    state: str
    reason: str
    gres: str
    errors: str

    @property
    def complaints(self) -> frozenset[str]:
        """The lines about the site's files, without their times."""
        lines = (_PREFIX.sub("", line) for line in self.errors.splitlines())
        return frozenset(line for line in lines if not _NOISE.search(line))


def base(native: Native) -> str:
    """The cluster's slurm.conf without what a site says for itself."""
    ours = "^(NodeName|PartitionName|GresTypes|Prolog|Epilog|Plug)"
    return native.run(f"grep -vE '{ours}' /etc/slurm/slurm.conf").stdout


def whole(native: Native, ours: str, gres: str) -> dict[str, str]:
    """Files in which what `conf` printed is all that there is about the node."""
    ours = ours.replace("NodeName=node1 ", "NodeName=node1 NodeAddr=10.11.12.1 ")
    keys = tuple(f"{line.partition('=')[0]}=" for line in ours.splitlines() if line[:1].isalpha())
    rest = [line for line in base(native).splitlines() if not line.startswith(keys)]
    return {
        "slurm.conf": "\n".join([*rest, ours, "PartitionName=main Nodes=node1 Default=YES", ""]),
        "gres.conf": gres,
    }


def device_files(machine: Machine) -> tuple[str, ...]:
    """The GPUs' device files, by address."""
    kind = "/dev/dri/renderD" if machine.gpus[0].vendor == 0x1002 else "/dev/nvidia"
    return tuple(f"{kind}{machine.minor(position)}" for position in range(len(machine.gpus)))


def put_devices(native: Native, files: Iterable[str]) -> None:
    """Make device files that nobody opens."""
    made = (f"test -e {file} || mknod -m 666 {file} c 226 {i}; " for i, file in enumerate(files))
    native.run(f"mkdir -p /dev/dri; {''.join(made)}", check=True)


def counted(gres: str) -> int:
    """How many GPUs a Gres= has."""
    return sum(map(int, re.findall(r"\bgpu:(?:\w+:)?(\d+)", gres)))


#: What slurmctld and slurmd need to end takes milliseconds.
PATIENCE = 10


def stop(native: Native) -> None:
    """End both daemons, wherever their files are.

    slurmctld 26.05 now and then does not end on SIGTERM: all of its threads then wait for one another.
    """
    daemons = "'slurmctld|slurmd'"
    gone = f"! pgrep -x {daemons} >/dev/null"
    wait = f'timeout {PATIENCE} sh -c "until {gone}; do sleep 0.02; done"'
    native.run(f"pkill -x {daemons}; {wait} || pkill -KILL -x {daemons}; until {gone}; do sleep 0.02; done")


def start(native: Native, files: Mapping[str, str], node: str = "node1") -> Started:
    """Both daemons with these files, once the node has registered or been refused."""
    slurm = _INSTEAD + _CONFINED.sub("", files["slurm.conf"])
    stop(native)
    native.run(f"rm -rf {SITE} /var/log/slurm/*", check=True)
    native.put({f"{SITE}/{name}": text for name, text in {**files, "slurm.conf": slurm}.items()})
    native.run(f"cp /etc/slurm/cgroup.conf {SITE}; slurmctld -c -f {SITE}/slurm.conf", check=True)
    native.run(f"timeout 5 slurmd -N {node} -f {SITE}/slurm.conf", env=HWLOC)
    known = "State=([A-Z]+[+])*(IDLE|INVAL|INVALID_REG|DOWN)[^*]* "
    ask = (
        f"export SLURM_CONF={SITE}/slurm.conf; for i in $(seq 40); do "
        f"scontrol -o show node {node} >/tmp/node; "
        f"grep -qE '{known}' /tmp/node && break; sleep 0.1; done; "
        "cat /tmp/node"
    )
    said = native.run(ask).stdout
    logs = native.run("grep -hE '(error|fatal|warning):' /var/log/slurm/*.log").stdout

    def value(key: str) -> str:
        match = re.search(rf"\b{key}=(\S+)", said)
        return match[1] if match else ""

    reason = re.search(r"\bReason=(.*)", said)
    return Started(value("State"), reason[1] if reason else "", value("Gres"), logs)
