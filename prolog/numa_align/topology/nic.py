"""Network cards: which there are, what they can do, and how far each is from each GPU.

`read` imports this only if there is a card for RDMA; the other cards are only for display.

Source: Documentation/ABI/stable/sysfs-class-infiniband (``state``, ``link_layer``, ``node_type``),
ABI/testing/sysfs-class-net (``operstate``), sysfs-bus-pci (``physfn``), networking/bonding.rst (``master``,
``bonding_masters``), drivers/infiniband/core/uverbs_main.c (``infiniband_verbs``, ``ibdev``).
/sys/class/infiniband has the devices of all verbs drivers, also of EFA and Omni-Path; Slingshot's have
a class of their own, cxi. Cards without an RDMA device are found by their interfaces, and those without a
driver by their PCI class.
"""

from __future__ import annotations

from ..light_typing import TYPE_CHECKING, NamedTuple
from ..sysfs import Tree, one_line
from .attached import Attacher
from .gpu.pci import PciFunction, bdf_key, candidates, normalise_bdf, route_of_link
from .model import Nic, Topology

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

#: The classes of devices for RDMA.
_VERBS = "sys/class/infiniband"
_CXI = "sys/class/cxi"
_USER_VERBS = "sys/class/infiniband_verbs"
_NET = "sys/class/net"
_DEVICES = "sys/bus/pci/devices"

_NETWORK, _SERIAL_BUS = 0x02, 0x0C
_ETHERNET_CLASS = 0x0200
#: InfiniBand, fabric (Omni-Path), and InfiniBand among the serial buses, as older cards have it.
_INFINIBAND_CLASSES = (0x0207, 0x0208, 0x0C06)

# The numbers of /sys/class/infiniband/*/node_type and .../ports/*/state (enum rdma_node_type, ib_port_state).
_IWARP_NODE, _ACTIVE = "4", "4"

# Cards whose kind is not clear from the PCI class; Cray's card is named in the driver cxi_ss1.
_AMAZON, _EFA_DEVICES = 0x1D0F, range(0xEFA0, 0xEFB0)
_SLINGSHOT = ((0x17DB, 0x0501), (0x1590, 0x0371))


class _Found(NamedTuple):
    """A card before its place is known: the first fields of `Nic`."""

    bdf: str
    name: Optional[str]
    kind: str
    interfaces: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    up: Optional[bool] = None
    physical: Optional[str] = None
    bond: Optional[str] = None
    device: Optional[str] = None


def read_nics(tree: Tree, topology: Topology) -> tuple[Nic, ...]:
    """All cards of the machine, ascending by address and name."""
    rdma = tuple(_rdma_devices(tree))
    found = [*rdma, *_others(tree, frozenset(card.bdf for card in rdma))]
    return _attached(tree, topology, found)


def read_rdma_nics(tree: Tree, topology: Topology) -> tuple[Nic, ...]:
    """Those with an RDMA device that are not virtual functions: a few files per card, for the prolog.

    Interfaces are read only if there are bonds.
    """
    return _attached(tree, topology, list(_rdma_devices(tree, for_choice=True)))


def _attached(tree: Tree, topology: Topology, found: list[_Found]) -> tuple[Nic, ...]:
    if not found:
        return ()
    attacher = Attacher(tree, topology)
    found.sort(key=lambda card: (bdf_key(card.bdf), card.name or ""))
    return tuple(Nic(*card[:-1], *attacher.attach(card.bdf), card.device) for card in found)


# -- RDMA devices ----------------------------------------------------------------------------


def _rdma_devices(tree: Tree, *, for_choice: bool = False) -> Iterator[_Found]:
    """With ``for_choice``, only what a choice among them needs."""
    files = _user_verbs(tree)
    with_interfaces = not for_choice or bool(tree.text(f"{_NET}/bonding_masters"))
    for name in tree.names(_VERBS):
        bdf, below = _function_of(tree, f"{_VERBS}/{name}")
        if bdf is None:
            bdf, below = _function_of(tree, f"{_NET}/{_interface_under(tree, name)}")
        if bdf is None:
            continue  # a device without a card, or not visible in this network namespace
        physical = _physical(tree, bdf, below)
        if for_choice and physical is not None:
            continue
        interfaces = _interfaces(tree, bdf) if with_interfaces else ()
        ports = tuple(_active_ports(tree, name))
        yield _Found(
            bdf, one_line(name), _kind_of_verbs(tree, name, bdf), interfaces, ports, bool(ports),
            physical, _bond(tree, interfaces), files.get(name),
        )  # fmt: skip
    for name in tree.names(_CXI):
        bdf, _ = _function_of(tree, f"{_CXI}/{name}")
        physical = None if bdf is None else _physical(tree, bdf)
        if bdf is None or (for_choice and physical is not None):
            continue
        interfaces = _interfaces(tree, bdf)
        yield _Found(
            bdf, one_line(name), "slingshot", interfaces, (), _any_up(tree, interfaces),
            physical, _bond(tree, interfaces), f"/dev/{name}",
        )  # fmt: skip


def _user_verbs(tree: Tree) -> dict[str, str]:
    """The file that a program opens to use an RDMA device, by the name of the device."""
    found = {}
    for name in tree.names(_USER_VERBS):
        device = tree.text(f"{_USER_VERBS}/{name}/ibdev")
        if device:
            found[device] = f"/dev/infiniband/{name}"
    return found


def _function_of(tree: Tree, path: str) -> tuple[Optional[str], bool]:
    """The PCI function of something in /sys/class, and whether it belongs to a subfunction of that.

    A subfunction (auxiliary bus, ``mlx5_core.sf.4``) has a directory of its own in the function's.
    """
    link = tree.link(path)
    if link is None:
        return None, False
    way = route_of_link(link)
    return (normalise_bdf(way[-1]) if way else None), ".sf." in link


def _interface_under(tree: Tree, name: str) -> str:
    """The interface that a software device (rxe, siw) runs over; empty if it names none."""
    said = tree.text(f"{_VERBS}/{name}/parent") or tree.text(f"{_VERBS}/{name}/ports/1/gid_attrs/ndevs/0")
    return said if said and "/" not in said else ""


def _kind_of_verbs(tree: Tree, name: str, bdf: str) -> str:
    layer = tree.text(f"{_VERBS}/{name}/ports/1/link_layer")
    if layer == "InfiniBand":
        return "infiniband"
    if layer == "Ethernet":
        node_type = tree.text(f"{_VERBS}/{name}/node_type") or ""
        return "iwarp" if node_type.partition(":")[0] == _IWARP_NODE else "roce"
    driver = tree.link(f"{_DEVICES}/{bdf}/driver") or ""
    return "efa" if driver.rpartition("/")[2] == "efa" else "ethernet"


def _active_ports(tree: Tree, name: str) -> Iterator[int]:
    for port in tree.numbered(f"{_VERBS}/{name}/ports", ""):
        state = tree.text(f"{_VERBS}/{name}/ports/{port}/state") or ""
        if state.partition(":")[0] == _ACTIVE:
            yield port


# -- Everything else -------------------------------------------------------------------------


def _others(tree: Tree, known: frozenset[str]) -> Iterator[_Found]:
    """Network functions without an RDMA device; software interfaces have no function and are left out."""
    classes = frozenset((_NETWORK, _SERIAL_BUS))
    for function in candidates(tree, tuple(classes)):
        kind = _kind_of_function(function)
        if kind is None or function.bdf in known:
            continue
        interfaces = _interfaces(tree, function.bdf)
        name = interfaces[0] if interfaces else None
        # A card whose driver has made an interface but no RDMA device counts as Ethernet, its present use.
        yield _Found(
            function.bdf, name, "ethernet" if interfaces else kind, interfaces, (),
            _any_up(tree, interfaces), _physical(tree, function.bdf), _bond(tree, interfaces),
        )  # fmt: skip


def _kind_of_function(function: PciFunction) -> Optional[str]:
    """The kind of a card by its PCI identity; None if it is not a network card."""
    if function.class_code in _INFINIBAND_CLASSES:
        return "infiniband"
    if function.vendor == _AMAZON and function.device in _EFA_DEVICES:
        return "efa"
    if (function.vendor, function.device) in _SLINGSHOT:
        return "slingshot"
    return "ethernet" if function.class_code >> 8 == _NETWORK else None


def _interfaces(tree: Tree, bdf: str) -> tuple[str, ...]:
    """The network interfaces of a function; a virtio card has them one directory deeper."""
    found = tree.names(f"{_DEVICES}/{bdf}/net")
    if not found:
        inner = (name for name in tree.names(f"{_DEVICES}/{bdf}") if name.startswith("virtio"))
        found = [name for directory in inner for name in tree.names(f"{_DEVICES}/{bdf}/{directory}/net")]
    return tuple(sorted(name for name in map(one_line, found) if name is not None))


def _any_up(tree: Tree, interfaces: tuple[str, ...]) -> Optional[bool]:
    states = {tree.text(f"{_NET}/{name}/operstate") for name in interfaces}
    if "up" in states:
        return True
    # Drivers that cannot tell say "unknown" (Documentation/networking/operstates.rst).
    return None if not states - {None, "unknown"} else False


def _physical(tree: Tree, bdf: str, is_subfunction: bool = False) -> Optional[str]:
    link = tree.link(f"{_DEVICES}/{bdf}/physfn")
    if link is not None:
        return normalise_bdf(link.rpartition("/")[2])
    return bdf if is_subfunction else None


def _bond(tree: Tree, interfaces: tuple[str, ...]) -> Optional[str]:
    """The bond that has an interface; a bridge is a master too, but not a bond."""
    for name in interfaces:
        master = (tree.link(f"{_NET}/{name}/master") or "").rpartition("/")[2]
        if master and tree.exists(f"{_NET}/{master}/bonding"):
            return one_line(master)
    return None
