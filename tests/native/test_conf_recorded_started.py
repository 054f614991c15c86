"""What `numa-align conf` writes for every recorded machine with GPUs, held against daemons that run.

slurmctld and slurmd are started with it on the machine's own files: the node is idle, every GPU that the
files name is counted, and no daemon complains of anything that it does not say, but for other numbers, of the
same machine declared by its name alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from builder.kinds import machines_with_gpus
from builder.recorded import is_complete, unpacked
from numa_align.slurm_files.hostlist import expand
from numa_align_conf.facts import Kind
from numa_align_conf.gres import gres_conf
from numa_align_conf.slurm import slurm_conf
from numa_align_conf.version import Version, parse_version

from native import Native

from .slurmd_asked import put_machine
from .started import base, counted, put_devices, start, stop, whole

PARTITION = "PartitionName=main Nodes=node1 Default=YES\n"

# slurmd takes the memory of the host for that of the machine; it is no part of what is asked here.
_MEMORY = re.compile(r"RealMemory=\d+")

_NUMBER = re.compile(r"\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*")


@pytest.fixture(scope="module")
def machines() -> Iterator[list[tuple[Path, Kind]]]:
    """Machines with GPUs that can be read at all."""
    with unpacked() as folder:
        yield machines_with_gpus(folder, "node1")


@pytest.fixture(autouse=True)
def restored(native: Native) -> Iterator[None]:
    """The cluster as other modules have it."""
    yield
    stop(native)
    native.configure(native.config)


def written(native: Native, kind: Kind, version: Version) -> dict[str, str]:
    """Both files, with less memory than the host has."""
    ours = _MEMORY.sub("RealMemory=100", slurm_conf([kind], version))
    return whole(native, ours, gres_conf([kind], version))


def named(files: dict[str, str]) -> int:
    """How many GPUs slurm.conf declares."""
    node = next(line for line in files["slurm.conf"].splitlines() if line.startswith("NodeName=node1 "))
    declared = re.search(r" Gres=(\S+)", node)
    return counted(declared[1]) if declared else 0


def new_complaints(native: Native, complaints: frozenset[str], usual: frozenset[str]) -> list[str]:
    """What is not said of the machine that is there now when its line in slurm.conf has nothing but its name.

    Slurm complains of CPUs that are offline whatever the files say. ``usual`` is what it says of the host.
    """
    if complaints <= usual:
        return []
    alike = {_NUMBER.sub("N", line) for line in start(native, {"slurm.conf": plain(native)}).complaints}
    return sorted(line for line in complaints - usual if _NUMBER.sub("N", line) not in alike)


def plain(native: Native) -> str:
    return base(native) + "GresTypes=gpu\nNodeName=node1 NodeAddr=10.11.12.1\n" + PARTITION


def is_detected(files: dict[str, str]) -> bool:
    """Whether the GPUs' device files are unknown, as the driver was not loaded when the machine was recorded.

    Such files leave the GPUs to AutoDetect=, and no Slurm of Debian's has the plugin for it.
    """
    return re.search(r"^NodeName=node1 AutoDetect=(?!off)", files["gres.conf"], re.MULTILINE) is not None


@pytest.mark.parametrize(
    ("recorded", "least"), [(False, 10), pytest.param(True, 20, marks=pytest.mark.matrix)]
)
def test_slurm_takes_what_is_written_for_each_machine(
    recorded: bool, least: int, native: Native, machines: list[tuple[Path, Kind]]
) -> None:
    """Our own machines every day, those of the archive, which take minutes, with the matrix."""
    usual = start(native, {"slurm.conf": plain(native)}).complaints
    asked, refused = 0, {}
    for root, kind in machines:
        files = written(native, kind, parse_version(native.slurm))
        if (root.parent.name != "own") != recorded or is_detected(files):
            continue
        put_machine(native, root)
        named_files = re.findall(r"\bFile=(\S+)", files["gres.conf"])
        put_devices(native, [file for listed in named_files for file in expand(listed)])
        node = start(native, files)
        asked += 1
        new = new_complaints(native, node.complaints, usual)
        if (node.state, counted(node.gres), new) != ("IDLE", named(files), []):
            refused[f"{root.parent.name}/{root.name}"] = (node.state, node.reason, node.gres, new)
    assert refused == {}
    assert asked >= (least if is_complete() or not recorded else 0)
