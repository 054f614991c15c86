"""Network cards and disks for a person: which there are, and how far each is from each GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional, Union

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..topology.model import PATHS, Attached, Disk, Nic, Topology

_STYLES = {"PIX": "bold green", "PXB": "green", "PHB": "", "NODE": "", "SYS": "red"}

# In fewer columns a table of cards has no room for an address, a name and a word or two.
_NARROW = 60


def parts_of(topology: Topology, attached: Attached, width: int) -> Iterator[RenderableType]:
    """A table of the cards, one of the disks, and their distances from the GPUs, if there are any.

    Virtual functions are counted with their card and not shown, as there may be hundreds.
    """
    cards = [nic for nic in attached.nics if nic.physical is None]
    if cards:
        yield _card_table(cards, attached.nics, width)
    if attached.disks:
        yield _disk_table(attached.disks, width)
    # For Ethernet without RDMA, the distance does not matter.
    shown: list[Union[Nic, Disk]] = [nic for nic in cards if nic.for_rdma]
    for devices in (shown, list(attached.disks)):
        if topology.gpus and devices:
            yield from _paths(topology, devices, width)


def _table() -> Table:
    return Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")


def label(device: Union[Nic, Disk]) -> str:
    """The name that programs use for it, else its address."""
    return device.name or device.bdf


def _node(node: Optional[int]) -> str:
    return "-" if node is None else str(node)


def _card_table(cards: Sequence[Nic], all_of_them: Sequence[Nic], width: int) -> RenderableType:
    table = _table()
    table.add_column("NIC", no_wrap=True)
    table.add_column("Name", overflow="fold")
    table.add_column("Kind", no_wrap=True)
    table.add_column("State", overflow="fold")
    table.add_column("Node", justify="right", no_wrap=True)
    wide = width >= _NARROW
    if wide:
        table.add_column("Notes", overflow="fold")
    for nic in cards:
        virtual = sum(other.physical == nic.bdf for other in all_of_them)
        notes = [Text(_notes(nic, virtual))] if wide else []
        table.add_row(nic.bdf, Text(nic.name or "-"), nic.kind, _state(nic), _node(nic.node), *notes)
    return table


def _state(nic: Nic) -> Text:
    words = "?" if nic.up is None else "up" if nic.up else "down"
    if nic.up and nic.ports not in ((), (1,)):
        words += " (port " + ",".join(map(str, nic.ports)) + ")"
    # No task uses a card for RDMA that is down.
    return Text(words, style="bold red" if nic.up is False and nic.for_rdma else "")


def _notes(nic: Nic, virtual: int) -> str:
    notes = []
    others = [name for name in nic.interfaces if name != nic.name]
    if others:
        notes.append(", ".join(others))
    if nic.bond is not None:
        notes.append(f"in {nic.bond}")
    if virtual:
        notes.append(f"{virtual} virtual function" + ("s" if virtual > 1 else ""))
    if nic.name is None:
        notes.append("no driver")
    return "; ".join(notes)


def _disk_table(disks: Sequence[Disk], width: int) -> RenderableType:
    table = _table()
    table.add_column("Disk", no_wrap=True)
    table.add_column("Name", no_wrap=True)
    table.add_column("Node", justify="right", no_wrap=True)
    if width >= _NARROW:
        table.add_column("Model", overflow="fold")
    for disk in disks:
        model = [Text(disk.model or "-")] if width >= _NARROW else []
        table.add_row(disk.bdf, disk.name or "-", _node(disk.node), *model)
    return table


def _paths(topology: Topology, devices: Sequence[Union[Nic, Disk]], width: int) -> Iterator[RenderableType]:
    """A matrix if it fits, else for each GPU the devices by class, the nearest first."""
    names = [label(device) for device in devices]
    needed = 2 + max(len(gpu.bdf) for gpu in topology.gpus) + sum(max(len(name), 4) + 1 for name in names)
    table = _table()
    table.add_column("Path", no_wrap=True)
    if needed > width:
        table.add_column("To", overflow="fold")
        for number, gpu in enumerate(topology.gpus):
            table.add_row(gpu.bdf, _by_class(devices, number))
        yield table
        return
    for name in names:
        table.add_column(Text(name), no_wrap=True)
    for number, gpu in enumerate(topology.gpus):
        words = (device.paths[number] for device in devices)
        table.add_row(gpu.bdf, *(Text(word, style=_STYLES[word]) for word in words))
    yield table


def _by_class(devices: Sequence[Union[Nic, Disk]], gpu: int) -> Text:
    text = Text()
    for path in PATHS:
        names = [label(device) for device in devices if device.paths[gpu] == path]
        if names:
            text.append("   " if text else "")
            text.append(path, _STYLES[path])
            text.append(" " + " ".join(names))
    return text
