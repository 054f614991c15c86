"""Network cards and NVMe disks as files, the way their drivers lay them out in sysfs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

_LAYERS = {"infiniband": "InfiniBand", "roce": "Ethernet", "iwarp": "Ethernet", "efa": "Unspecified"}
_NODE_TYPES = {"infiniband": "1: CA", "roce": "1: CA", "iwarp": "4: RNIC", "efa": "7: unspecified"}


@dataclass(frozen=True)
class Card:
    """A network function. ``rdma`` names its device in /sys/class/infiniband or, for kind ``slingshot``, in
    /sys/class/cxi; ``net`` its interface. ``states`` are the states of the ports of the RDMA device, from
    port 1 on, and ``operstate`` that of the interface. ``over`` makes a software device of ``rdma`` that
    runs over this interface (rxe); ``virtio`` puts the interface one directory deeper.
    """

    bdf: str
    way: str
    node: Optional[int] = 0
    kind: str = "infiniband"
    rdma: Optional[str] = None
    net: Optional[str] = None
    states: Sequence[str] = ("4: ACTIVE",)
    operstate: str = "up"
    driver: Optional[str] = "mlx5_core"
    physfn: Optional[str] = None
    bond: Optional[str] = None
    bridge: Optional[str] = None
    subfunction: Optional[str] = None
    over: bool = False
    virtio: Optional[str] = None
    class_code: int = 0x020000
    vendor: int = 0x15B3
    device: int = 0x1021


@dataclass(frozen=True)
class NvmeDisk:
    """An NVMe controller; without a name it has no driver."""

    bdf: str
    way: str
    node: Optional[int] = 0
    name: Optional[str] = None
    model: str = "Disk 1"
    class_code: int = 0x010802
    vendor: int = 0x144D
    device: int = 0xA824


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def _class_link(root: Path, name: str, directory: Path) -> None:
    """``/sys/class/NAME/X``, relative as the kernel makes it."""
    links = root / "sys/class" / name
    links.mkdir(parents=True, exist_ok=True)
    (links / directory.name).symlink_to(os.path.relpath(directory, links))


def write_card(card: Card, own: Path, root: Path) -> None:
    """What the card's driver makes in the directory of its function."""
    if card.driver is not None:
        (own / "driver").symlink_to(f"../../../bus/pci/drivers/{card.driver}")
    if card.physfn is not None:
        (own / "physfn").symlink_to(f"../{card.physfn}")
    if card.net is not None:
        _write_interface(card, own, root)
    if card.rdma is not None and card.kind == "slingshot":
        (own / "cxi" / card.rdma).mkdir(parents=True)
        _class_link(root, "cxi", own / "cxi" / card.rdma)
    elif card.rdma is not None:
        _write_verbs(card, own, root)


def _write_interface(card: Card, own: Path, root: Path) -> None:
    assert card.net is not None
    directory = (own / card.virtio if card.virtio else own) / "net" / card.net
    _put(directory / "operstate", card.operstate)
    _class_link(root, "net", directory)
    for master, is_bond in ((card.bond, True), (card.bridge, False)):
        if master is None:
            continue
        above = root / "sys/devices/virtual/net" / master
        if not above.exists():
            (above / ("bonding" if is_bond else "bridge")).mkdir(parents=True)
            if is_bond:
                _put(root / "sys/class/net/bonding_masters", master)
            _class_link(root, "net", above)
        (directory / "master").symlink_to(os.path.relpath(above, directory))


def _write_verbs(card: Card, own: Path, root: Path) -> None:
    assert card.rdma is not None
    if card.over:
        directory = root / "sys/devices/virtual/infiniband" / card.rdma
        _put(directory / "parent", card.net or "")
    else:
        directory = (own / card.subfunction if card.subfunction else own) / "infiniband" / card.rdma
    _put(directory / "node_type", _NODE_TYPES[card.kind])
    for number, state in enumerate(card.states, 1):
        _put(directory / f"ports/{number}/state", state)
        _put(directory / f"ports/{number}/link_layer", _LAYERS[card.kind])
    _class_link(root, "infiniband", directory)
    verbs = root / "sys/class/infiniband_verbs"
    number = len(list(verbs.iterdir())) if verbs.exists() else 0
    _put(verbs / f"uverbs{number}/ibdev", card.rdma)


def write_disk(disk: NvmeDisk, own: Path, root: Path) -> None:
    """What the NVMe driver makes."""
    if disk.name is None:
        return
    _put(own / "nvme" / disk.name / "model", disk.model)
    _class_link(root, "nvme", own / "nvme" / disk.name)
