"""NVMe disks: where each is attached, and how far it is from each GPU.

Source: /sys/class/nvme has a link for each controller (drivers/nvme/host/core.c); those of a fabric have
no PCI function and are left out. Disks without a driver are found by their PCI class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from ..sysfs import Tree, one_line
from .attached import Attacher
from .gpu.pci import bdf_key, candidates, normalise_bdf, route_of_link
from .model import Disk, Topology

_CLASS = "sys/class/nvme"
_MASS_STORAGE, _NVME = 0x01, 0x0108


def read_disks(tree: Tree, topology: Topology) -> tuple[Disk, ...]:
    """All NVMe controllers of the machine, ascending by address."""
    named = dict(_controllers(tree))
    found = {function.bdf for function in candidates(tree, (_MASS_STORAGE,)) if function.class_code == _NVME}
    attacher = Attacher(tree, topology)
    return tuple(
        Disk(bdf, named.get(bdf), _model(tree, named.get(bdf)), *attacher.attach(bdf))
        for bdf in sorted(found | set(named), key=bdf_key)
    )


def _controllers(tree: Tree) -> Iterator[tuple[str, str]]:
    """Address and name of each controller that has a driver."""
    for name in sorted(tree.names(_CLASS)):
        way = route_of_link(tree.link(f"{_CLASS}/{name}") or "")
        bdf = normalise_bdf(way[-1]) if way else None
        if bdf is not None:
            yield bdf, name


def _model(tree: Tree, name: Optional[str]) -> Optional[str]:
    return None if name is None else one_line(tree.text(f"{_CLASS}/{name}/model"))
