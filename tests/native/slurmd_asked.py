"""`slurmd -G` of real Slurm about a machine that is a tree of files: which GPUs it would give out."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from builder.for_hwloc import add_masks
from numa_align.slurm_files.gres_lines import core_numbers
from numa_align.slurm_files.hostlist import expand

from .native import Native

#: hwloc reads this in place of the host's /sys, and nothing else.
HWLOC = {"HWLOC_FSROOT": "/asked/machine", "HWLOC_COMPONENTS": "linux,stop"}

# Slurm waits for what is missing, a file that is included for 60 s, a device file for 20: it is refused.
_LIMIT = 3

_RECORD = re.compile(r"Gres Name=gpu .*", re.IGNORECASE)
_FILE = re.compile(r"\bFile=(\S+)")
_CORES = re.compile(r"\bCores=(\S+) CoreCnt")


@dataclass(frozen=True)
class Answer:
    """What slurmd said: ``cores`` by device file, None where a GPU has no Cores=; empty where it ended."""

    status: int
    text: str
    cores: Mapping[str, Optional[tuple[int, ...]]]


def put_machine(native: Native, root: Path) -> None:
    """Make slurmd see the machine below ``root``; its device files are the cluster's own."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(root / "sys", "machine/sys")
    native.run("rm -rf /asked && mkdir -p /asked", check=True)
    native.run(["tar", "-x", "-C", "/asked"], stdin=stream.getvalue(), check=True)
    add_masks(Path(f"/proc/{native.pid}/root/asked/machine"))  # recorded machines stay as they are


def ask(native: Native, files: Mapping[str, str | bytes], node: str) -> Answer:
    """Ask about slurm.conf, gres.conf and what they include.

    What needs cgroups or accounts is replaced: `slurmd -G` looks at GPUs alone.
    """
    texts = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
    slurm = re.sub(
        rb"(?im)^[ \t]*(TaskPlugin|ProctrackType|JobAcctGatherType|SlurmUser)[ \t]*=.*$",
        b"",
        texts["slurm.conf"],
    )
    slurm += b"\nProctrackType=proctrack/linuxproc\nTaskPlugin=task/affinity\n"
    slurm += b"JobAcctGatherType=jobacct_gather/none\n"
    plugin = "cgroup/v1" if native.slurm == "22.05" else "disabled"
    folder = {**texts, "slurm.conf": slurm, "cgroup.conf": f"CgroupPlugin={plugin}\n".encode()}
    native.run("rm -rf /asked/site", check=True)
    native.put({f"/asked/site/{name}": text for name, text in folder.items()})
    command = ["timeout", str(_LIMIT), "slurmd", "-G", "-N", node, "-f", "/asked/site/slurm.conf"]
    result = native.run(command, env=HWLOC)
    text = result.stdout + result.stderr
    return Answer(result.status, text, _gpus(text) if result.status == 0 else {})


def _gpus(text: str) -> dict[str, Optional[tuple[int, ...]]]:
    found: dict[str, Optional[tuple[int, ...]]] = {}
    for record in _RECORD.findall(text):
        file, cores = _FILE.search(record), _CORES.search(record)
        for name in expand(file[1]) if file else ():
            found[name] = core_numbers(cores[1]) if cores else None
    return found
