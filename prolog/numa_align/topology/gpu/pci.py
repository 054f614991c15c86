"""PCI functions: their addresses, kinds, routes and locality.

Source: Documentation/ABI/testing/sysfs-bus-pci (``class``, ``numa_node``, ``local_cpulist``) and
sysfs-class-pci (``cpulistaffinity`` of a bus). An address, or BDF, is ``domain:bus:device.function`` in
hexadecimal; the kernel prints it in lower case with a domain of at least four digits.
"""

from __future__ import annotations

from ...light_typing import TYPE_CHECKING, NamedTuple
from ...sysfs import Tree, to_hex

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Optional

_DEVICES = "sys/bus/pci/devices/"

#: Base classes (the highest byte of the class code) that a GPU may have: display controller,
#: and processing accelerator, which FPGAs have too.
_BASE_CLASSES = (0x03, 0x12)

_MAX_BRIDGES = 32


class PciFunction(NamedTuple):
    """One function. ``class_code`` is base class and subclass, 0x0302."""

    bdf: str
    vendor: int
    device: Optional[int]
    class_code: int
    driver: Optional[str]


class Way(NamedTuple):
    """The route to a function (see `route`), and its PCI class as in sysfs, ``0x030200``."""

    route: tuple[str, ...]
    class_code: str


class Clue(NamedTuple):
    """What one device reports: ``numa_node`` (-1: unknown), and its local CPUs; None: no file."""

    numa_node: Optional[int]
    local_cpus: Optional[tuple[int, ...]]


class FoundGpu(NamedTuple):
    """A GPU as its driver describes it, before its locality is known.

    ``memory_node`` is the NUMA node that the kernel made of the GPU's own memory. The other
    fields are those of `numa_align.topology.model.Gpu`.
    """

    vendor: str
    bdf: str
    minor: Optional[int] = None
    uuid: Optional[str] = None
    model: Optional[str] = None
    device: Optional[str] = None
    memory_node: Optional[int] = None


def normalise_bdf(text: str) -> Optional[str]:
    """An address in the kernel's format; None if ``text`` is not an address.

    >>> normalise_bdf("00000000:3B:00.0")
    '0000:3b:00.0'

    NVML prints eight digits in upper case, and some tools leave out domain 0.
    """
    head, dot, function_text = text.strip().rpartition(".")
    parts = head.split(":")
    if len(parts) == 2:
        parts.insert(0, "0")
    if not dot or len(parts) != 3:
        return None
    domain, bus, slot, function = (to_hex(part) for part in (*parts, function_text))
    if domain is None or bus is None or slot is None or function is None:
        return None
    if domain > 0xFFFFFFFF or bus > 0xFF or slot > 0x1F or function > 7:
        return None
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def bdf_key(bdf: str) -> tuple[int, str]:
    """Sort key of a normalised address, as domains have different numbers of digits."""
    domain, _, rest = bdf.partition(":")
    return int(domain, 16), rest


def candidates(tree: Tree, base_classes: Sequence[int] = _BASE_CLASSES) -> tuple[PciFunction, ...]:
    """The functions of these base classes, by default displays and accelerators, ascending by address.

    One small file is read for each PCI function, and three more for those that qualify.
    """
    found = []
    for name in tree.names("sys/bus/pci/devices"):
        class_code = to_hex(tree.text(f"{_DEVICES}{name}/class"))
        if class_code is None or class_code >> 16 not in base_classes:
            continue
        bdf, vendor = normalise_bdf(name), to_hex(tree.text(f"{_DEVICES}{name}/vendor"))
        if bdf is None or vendor is None:
            continue
        device = to_hex(tree.text(f"{_DEVICES}{name}/device"))
        link = tree.link(f"{_DEVICES}{name}/driver")
        driver = link.rpartition("/")[2] if link else None
        found.append(PciFunction(bdf, vendor, device, class_code >> 8, driver))
    return tuple(sorted(found, key=lambda function: bdf_key(function.bdf)))


def read_clue(tree: Tree, bdf: str) -> Clue:
    """What the function itself reports about its locality; a partition is where its GPU is."""
    return _clue(tree, _DEVICES + _function(tree, bdf))


def _function(tree: Tree, bdf: str) -> str:
    """The function of this address; for a partition of a GPU (see `amd`) the first of the device."""
    return bdf if tree.exists(_DEVICES + bdf) else f"{bdf[:-1]}0"


def _clue(tree: Tree, path: str) -> Clue:
    return Clue(
        tree.number(f"{path}/numa_node"),
        tree.cpus(f"{path}/local_cpulist", f"{path}/local_cpus"),
    )


def bridge_clues(tree: Tree, bdf: str) -> Iterator[Clue]:
    """What the bridges above the function report, the nearest first, the root bus last.

    Read lazily: nearly always the function itself reports enough.
    """
    parts = _device_path(tree.link(_DEVICES + _function(tree, bdf)) or "")
    for depth in range(len(parts) - 1, max(0, len(parts) - _MAX_BRIDGES), -1):
        path = "sys/" + "/".join(parts[:depth])
        name = parts[depth - 1]
        if normalise_bdf(name) is not None:
            yield _clue(tree, path)
        elif name.startswith("pci"):
            # The host bridge: its directory has no numa_node, but its bus has the CPUs.
            bus = f"{path}/pci_bus/{name[len('pci') :]}"
            yield Clue(None, tree.cpus(f"{bus}/cpulistaffinity", f"{bus}/cpuaffinity"))
            return


def _device_path(link: str) -> list[str]:
    """The directories below /sys in the target of a device's link.

    The link is split as text, so that it never leads out of a recorded machine.
    """
    parts = link.split("/")
    while parts and parts[0] in ("..", "."):
        parts.pop(0)
    return parts


def route(tree: Tree, bdf: str) -> tuple[str, ...]:
    """The route from the host bridge to the function, both included: ``pci0000:3a``, bridges, the function.

    Only the function if the kernel does not show the route.
    """
    return route_of_link(tree.link(_DEVICES + _function(tree, bdf)) or "") or (bdf,)


def read_way(tree: Tree, bdf: str) -> Way:
    """The route to a function; the class is 0x000000 (unknown to PCI) if the kernel does not show it."""
    code = to_hex(tree.text(f"{_DEVICES}{_function(tree, bdf)}/class"))
    return Way(route(tree, bdf), f"0x{code or 0:06x}")


def route_of_link(link: str) -> tuple[str, ...]:
    """The route of a link to anything attached to a function (``/sys/class/net/eth0``); empty if it is not.

    A separate domain behind a bridge (Intel VMD) has a second host bridge on the way, which is kept.
    """
    parts = _device_path(link)
    start = next((at for at, part in enumerate(parts) if part.startswith("pci")), len(parts))
    end = max((at for at, part in enumerate(parts) if normalise_bdf(part) is not None), default=-1)
    return tuple(parts[start : end + 1])
