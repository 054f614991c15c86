"""What sends traffic between GPUs and cards through the root complex: IOMMU and ACS.

Source: Documentation/ABI/testing/sysfs-kernel-iommu_groups (``type``), admin-guide/kernel-parameters.txt
(``iommu``, ``intel_iommu``, ``amd_iommu``, ``pci=config_acs`` and ``disable_acs_redir``), and
include/uapi/linux/pci_regs.h for the capability. Only root can read more than the first 64 bytes of a
function's configuration (drivers/pci/pci-sysfs.c).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from numa_align.sysfs import Tree
from numa_align.topology.gpu.pci import route
from numa_align.topology.model import Topology

_DEVICES = "sys/bus/pci/devices"
_WORDS = ("iommu=", "intel_iommu=", "amd_iommu=", "iommu.", "pci=", "pcie_acs_override=")

_CONFIG_SIZE = 4096
_FIRST, _ACS, _CONTROL = 0x100, 0x000D, 6
#: P2P request redirect, P2P completion redirect, upstream forwarding.
_REDIRECT = 0x0004 | 0x0008 | 0x0010


@dataclass(frozen=True)
class Peers:
    """``domains``: types of the IOMMU domains that have GPUs, empty without an IOMMU. ``redirecting``:
    bridges above GPUs whose ACS control redirects peer traffic, out of ``bridges`` that could be read.
    ``words`` are the related words of the kernel's command line.
    """

    domains: tuple[str, ...] = ()
    redirecting: tuple[str, ...] = ()
    bridges: int = 0
    words: tuple[str, ...] = ()


def read_peers(tree: Tree, topology: Topology) -> Peers:
    """The settings that affect traffic between GPUs."""
    domains = {kind for kind in (_domain(tree, gpu.bdf) for gpu in topology.gpus) if kind}
    above = sorted({bridge for gpu in topology.gpus for bridge in route(tree, gpu.bdf)[1:-1]})
    controls = {bridge: _acs_control(tree.data(f"{_DEVICES}/{bridge}/config")) for bridge in above}
    known = {bridge: control for bridge, control in controls.items() if control is not None}
    words = (tree.text("proc/cmdline") or "").split()
    return Peers(
        tuple(sorted(domains)),
        tuple(bridge for bridge, control in known.items() if control & _REDIRECT),
        len(known),
        tuple(word for word in words if word.startswith(_WORDS)),
    )


def _domain(tree: Tree, bdf: str) -> Optional[str]:
    group = (tree.link(f"{_DEVICES}/{bdf}/iommu_group") or "").rpartition("/")[2]
    return tree.text(f"sys/kernel/iommu_groups/{group}/type") if group else None


def _acs_control(config: Optional[bytes]) -> Optional[int]:
    """The control register of ACS, 0 for a bridge without ACS, None if it cannot be read."""
    if config is None or len(config) < _CONFIG_SIZE:
        return None
    for place in _capabilities(config):
        if int.from_bytes(config[place : place + 2], "little") == _ACS:
            return int.from_bytes(config[place + _CONTROL : place + _CONTROL + 2], "little")
    return 0


def _capabilities(config: bytes) -> Iterator[int]:
    """The offset of each extended capability; the walk is bounded, as a damaged list may never end."""
    place, seen = _FIRST, set[int]()
    while _FIRST <= place <= _CONFIG_SIZE - 8 and place not in seen:
        seen.add(place)
        header = int.from_bytes(config[place : place + 4], "little")
        if header in (0, 0xFFFFFFFF):
            return
        yield place
        place = header >> 20
