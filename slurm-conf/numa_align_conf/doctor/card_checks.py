"""Checks of network cards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

from numa_align.topology.model import PATHS, Nic

from .model import Facts, Finding


def nearest_is_up(facts: Facts) -> Iterator[Finding]:
    """GPUs whose nearest card is down while a farther one of the same fabric is up.

    If all cards of a fabric are down it is not in use, which is fine.
    """
    alone = [nic for nic in facts.topology.nics if nic.is_alone]
    up = [nic for nic in alone if nic.is_choosable]
    lost = []
    for position, gpu in enumerate(facts.topology.gpus):
        used = _nearest(up, position)
        same = [nic for nic in alone if used and nic.kind == used.kind]
        nearest = _nearest(same, position)
        if used and nearest and _rank(nearest, position) < _rank(used, position):
            lost.append(f"{nearest.name} ({nearest.paths[position]}) of GPU {gpu.bdf}")
    if lost:
        names = ", ".join(lost[:4]) + (", ..." if lost[4:] else "")
        yield Finding(
            "nic-down",
            "warn",
            f"the network card nearest to a GPU is down: {names}",
            "its tasks share a card that is farther away with others",
            "see `numa-align topo` for all cards, and `ibstat` or `ip link` for the reason",
        )
    elif up and facts.has_gpus:
        yield Finding("nic-down", "ok", "the network card nearest to each GPU is up")


_ROOT_COMPLEX = (
    "transfers between GPUs and cards that could stay in a PCIe switch go up through the root complex; this "
    "isolates devices of virtual machines from one another"
)


def peer_traffic(facts: Facts) -> Iterator[Finding]:
    """IOMMU and ACS between GPUs: this is the site's choice, so it is reported but not judged."""
    peers = facts.peers
    said = f" ({' '.join(peers.words)})" if peers.words else ""
    if peers.domains:
        translated = any(kind.startswith("DMA") for kind in peers.domains)
        price = "addresses of transfers between devices are translated on the way" if translated else ""
        what = f"the IOMMU has the GPUs in domains of type {', '.join(peers.domains)}{said}"
        yield Finding("peer-traffic", "ok", what, price)
    if peers.redirecting:
        names = ", ".join(peers.redirecting[:4]) + (", ..." if peers.redirecting[4:] else "")
        count = f"{len(peers.redirecting)} of {peers.bridges} bridges above GPUs"
        what = f"ACS redirects peer traffic at {count}: {names}"
        yield Finding("peer-traffic", "ok", what, _ROOT_COMPLEX)
    elif peers.bridges:
        yield Finding("peer-traffic", "ok", f"ACS redirects no traffic at {peers.bridges} bridges above GPUs")


def scratch(facts: Facts) -> Iterator[Finding]:
    """Scratch on a disk of another node than GPUs: only reported, since few machines have a disk on each."""
    for place in facts.scratch:
        nodes = {disk.node for disk in place.disks}
        far = [gpu.bdf for gpu in facts.topology.gpus if gpu.node not in nodes]
        names = ", ".join(f"{disk.name or disk.bdf} on node {_node(disk.node)}" for disk in place.disks)
        what = f"{place.setting}={place.path} is on {names}"
        price = ""
        if far and None not in nodes:
            what += f", {len(far)} of {len(facts.topology.gpus)} GPUs are on other nodes"
            price = "what their tasks read and write there crosses from one node to another"
        yield Finding("scratch", "ok", what, price)


def _node(node: Optional[int]) -> str:
    return "unknown" if node is None else str(node)


def _rank(nic: Nic, gpu: int) -> int:
    return PATHS.index(nic.paths[gpu])


def _nearest(cards: Sequence[Nic], gpu: int) -> Optional[Nic]:
    return min(cards, key=lambda nic: _rank(nic, gpu), default=None)
