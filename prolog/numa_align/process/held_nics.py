"""The network cards that a process has open, and whether they are near its GPUs.

An open card does not mean that the process sends anything over it: NCCL opens all cards that it may open when
it starts. So cards are reported beside the state of a process and do not change it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Optional

from ..names import PathWord
from ..sysfs import Tree
from ..topology.model import PATHS, Gpu, Nic, Topology

#: What the device files of cards begin with (see `numa_align.topology.nic`).
_FILES = ("/dev/infiniband/uverbs", "/dev/cxi")


class HeldNic(NamedTuple):
    """A card that a process has open. ``path`` is the best one to its GPUs; ``near``: no card of the
    same kind is nearer to one of them. Both are None for a process without GPUs.
    """

    nic: Nic
    path: Optional[PathWord] = None
    near: Optional[bool] = None


class HeldNics(NamedTuple):
    """All of them; ``nearer`` are names of nearer cards if none of the open ones is near."""

    cards: tuple[HeldNic, ...] = ()
    nearer: tuple[str, ...] = ()

    @property
    def remark(self) -> Optional[str]:
        """A sentence for a person if no open card is near."""
        if not self.nearer:
            return None
        names = ", ".join(str(held.nic.name) for held in self.cards)
        return f"the network cards that it has open ({names}) are farther from its GPUs than " + ", ".join(
            self.nearer
        )


#: For a process that has no card open.
NO_NICS = HeldNics()


def held_nics(
    paths: Collection[str], gpus: Sequence[Gpu], topology: Topology, tree: Optional[Tree] = None
) -> HeldNics:
    """The cards among the files that a process has open, judged by the GPUs that it uses."""
    opened = sorted(path for path in paths if path.startswith(_FILES))
    if not opened:
        return NO_NICS
    cards = tuple(nic for nic in _known(opened, topology, tree or Tree("/")) if nic.device in opened)
    if not gpus:
        return HeldNics(tuple(HeldNic(nic) for nic in cards))
    order = {gpu.bdf: position for position, gpu in enumerate(topology.gpus)}
    positions = [order[gpu.bdf] for gpu in gpus]
    nearest = {kind: _nearest(kind, cards, positions, topology) for kind in {nic.kind for nic in cards}}
    held = tuple(
        HeldNic(
            nic,
            min((nic.paths[gpu] for gpu in positions), key=PATHS.index),
            nic.name in nearest[nic.kind],
        )
        for nic in cards
    )
    if any(one.near for one in held):
        return HeldNics(held)
    return HeldNics(held, tuple(name for names in nearest.values() for name in names))


def _known(opened: Sequence[str], topology: Topology, tree: Tree) -> Sequence[Nic]:
    """The machine's cards; virtual functions are searched only if one is open."""
    if {nic.device for nic in topology.nics}.issuperset(opened):
        return topology.nics
    from ..topology.nic import read_nics  # noqa: PLC0415

    return read_nics(tree, topology)


def _nearest(kind: str, held: Sequence[Nic], gpus: Sequence[int], topology: Topology) -> tuple[str, ...]:
    """The nearest cards of a kind, by the rule by which tasks get theirs.

    An open device counts as a card of its own, even a virtual function or a member of a bond: it replaces
    the card of which it is a part.
    """
    from ..placement.plan import nics_of  # noqa: PLC0415 - a machine without cards needs no plan

    own = [nic._replace(physical=None, bond=None, up=True) for nic in held if nic.kind == kind]
    parts = {nic.physical for nic in held} | {nic.bdf for nic in held}
    others: Iterator[Nic] = (
        nic for nic in topology.nics if nic.kind == kind and nic.is_choosable and nic.bdf not in parts
    )
    return nics_of(topology._replace(nics=(*own, *others)), gpus)
