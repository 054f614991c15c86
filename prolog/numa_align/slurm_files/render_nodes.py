"""``/dev/dri/cardN`` in gres.conf: the same GPU as its render node, by which this package knows GPUs.

Both are device files of one device in sysfs; their numbers are unrelated.
"""

from __future__ import annotations

from ..light_typing import TYPE_CHECKING
from .gres_lines import CARD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Protocol

    from ..sysfs import Tree
    from .gres_lines import GresLine

    class Found(Protocol):
        """What is needed of a GPU."""

        @property
        def bdf(self) -> str: ...  # noqa: D102


_RENDER = "/dev/dri/renderD"
_DRM = "sys/class/drm"


def render_nodes(tree: Tree, gpus: Iterable[Found]) -> dict[str, str]:
    """The render node of every card: of PCI functions, and of partitions, which are not PCI functions."""
    folders = [f"{_DRM}/card{number}/device/drm" for number in tree.numbered(_DRM, "card")]
    folders += [f"sys/bus/pci/devices/{gpu.bdf}/drm" for gpu in gpus]
    found: dict[str, str] = {}
    for folder in folders:
        cards, renders = tree.numbered(folder, "card"), tree.numbered(folder, "renderD")
        if len(cards) == len(renders) == 1:
            found[f"{CARD}{cards[0]}"] = f"{_RENDER}{renders[0]}"
    return found


def with_render_nodes(lines: Sequence[GresLine], nodes: Mapping[str, str]) -> tuple[GresLine, ...]:
    """The lines with cards replaced by their render nodes where these are known."""
    return tuple(
        line._replace(devices=tuple(tuple(nodes.get(file, file) for file in one) for one in line.devices))
        for line in lines
    )
