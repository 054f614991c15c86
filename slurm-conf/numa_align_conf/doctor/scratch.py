"""Jobs' scratch, as TmpFS of slurm.conf and BasePath of job_container.conf name it, and its NVMe disks.

Source: proc_pid_mountinfo(5); /sys/dev/block and /sys/class/block have a link for each block device, and
``slaves`` names the devices below a logical volume or an array (Documentation/ABI/testing/sysfs-block).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from numa_align.sysfs import Tree
from numa_align.topology.gpu.pci import route_of_link
from numa_align.topology.model import Disk

_MAX_DEPTH = 4  # partition, array, volume, encryption


@dataclass(frozen=True)
class Scratch:
    """A place for temporary files, the ``setting`` that names it, and the NVMe disks below it."""

    setting: str
    path: str
    disks: tuple[Disk, ...]


def find_scratch(tree: Tree, disks: tuple[Disk, ...], setting: str, path: str) -> Optional[Scratch]:
    """None if the place is on no NVMe disk of this node."""
    if "%" in path or not path.startswith("/"):
        return None  # %h and %n of TmpFS, per node or host
    mount = _mount_of(tree, path)
    if mount is None:
        return None
    number, source = mount
    link = tree.link(f"sys/dev/block/{number}")
    # The number that btrfs shows does not belong to a device.
    place = link or (source if source.startswith("/dev/") else "")
    name = place.rpartition("/")[2]
    below = set(_functions(tree, name, _MAX_DEPTH)) if name else set()
    found = tuple(disk for disk in disks if disk.bdf in below)
    return Scratch(setting, path, found) if found else None


def _mount_of(tree: Tree, path: str) -> Optional[tuple[str, str]]:
    """Device number and source of the mount that has a path: the longest, the last if several are equal."""
    best: tuple[int, str, str] = (-1, "", "")
    for line in (tree.text("proc/self/mountinfo") or "").splitlines():
        fields, _, rest = line.partition(" - ")
        words, source = fields.split(), rest.split()
        if len(words) < 5 or len(source) < 2:
            continue
        point = words[4].replace("\\040", " ").rstrip("/")
        if (path == point or path.startswith(point + "/")) and len(point) >= best[0]:
            best = (len(point), words[2], source[1])
    return best[1:] if best[0] >= 0 else None


def _functions(tree: Tree, name: str, depth: int) -> Iterator[str]:
    """The PCI functions of a block device, or of those of which it consists."""
    link = tree.link(f"sys/class/block/{name}") or ""
    way = route_of_link(link)
    if way:
        yield way[-1]
    elif depth:
        for below in tree.names(f"sys/class/block/{name}/slaves"):
            yield from _functions(tree, below, depth - 1)
