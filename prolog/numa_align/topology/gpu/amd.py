"""AMD GPUs: PCI functions of the amdgpu driver, their render nodes and their ROCm identity.

Source: Documentation/gpu/amdgpu (``unique_id``, ``product_name`` of the device) and, for older kernels, the
kfd topology (``/sys/class/kfd/kfd/topology/nodes/N/properties``: ``unique_id``, ``drm_render_minor``,
``domain``, ``location_id``), which the ROCm runtime reads. ROCR_VISIBLE_DEVICES names a GPU by
``GPU-`` and the 16 hexadecimal digits of its unique id.

A GPU in a partitioned mode (CPX, TPX, QPX, DPX) is several GPUs to ROCm and to Slurm, each with a kfd node
and a render node of its own: each is a GPU here. In its address the number of the partition replaces the
function, as in ROCm SMI (rsmi_dev_pci_id_get, "Partition ID or function").
"""

from __future__ import annotations

from ...light_typing import TYPE_CHECKING, NamedTuple
from ...sysfs import Tree, one_line, to_hex, to_number
from .pci import FoundGpu, PciFunction
from .vendors import VENDORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Optional

VENDOR = VENDORS["amd"].pci

#: VGA, 3D and other display controllers, and accelerators (MI300).
_CLASSES = (0x0300, 0x0302, 0x0380, 0x1200)

#: Displays of management controllers and server boards: Rage XL, RV100, ES1000.
_BOARD_DISPLAYS = (0x4752, 0x5159, 0x515E, 0x5969)

#: A function's number has three bits, and no GPU is divided into more partitions.
_LAST_FUNCTION = 7

_HANDED_OUT = ("vfio-pci", "pci-stub")

_DEVICES = "sys/bus/pci/devices"
_KFD_NODES = "sys/class/kfd/kfd/topology/nodes"


class _KfdNode(NamedTuple):
    """``bdf`` is that of the PCI function, of which this is a partition; usually the only one, 0."""

    bdf: str
    partition: int
    render_minor: Optional[int]
    unique_id: Optional[int]


def find(tree: Tree, functions: Sequence[PciFunction]) -> tuple[FoundGpu, ...]:
    """The AMD GPUs among these PCI functions, and their partitions."""
    chosen = [function for function in functions if _is_gpu(function)]
    if not chosen:
        return ()
    kfd_nodes = _kfd_nodes(tree)
    found = {gpu.bdf: gpu for function in chosen for gpu in _partitions(tree, function, kfd_nodes)}
    # A function that exists wins over a partition that would have the same address.
    found.update((function.bdf, _describe(tree, function, kfd_nodes)) for function in chosen)
    return tuple(found.values())


def _is_gpu(function: PciFunction) -> bool:
    if function.vendor != VENDOR or function.driver in _HANDED_OUT:
        return False
    if function.driver == "amdgpu":
        return True
    return function.class_code in _CLASSES and function.device not in _BOARD_DISPLAYS


def _describe(tree: Tree, function: PciFunction, kfd_nodes: Sequence[_KfdNode]) -> FoundGpu:
    path = f"{_DEVICES}/{function.bdf}"
    own = _own(function, kfd_nodes)[:1]
    minors = tree.numbered(f"{path}/drm", "renderD")
    minors += [node.render_minor for node in own if node.render_minor is not None]
    unique_id = to_hex(tree.text(f"{path}/unique_id"))
    if unique_id is None:
        unique_id = next((node.unique_id for node in own if node.unique_id), None)
    return FoundGpu(
        "amd",
        function.bdf,
        minors[0] if minors else None,
        f"GPU-{unique_id:016x}" if unique_id else None,
        one_line(tree.text(f"{path}/product_name")),
        f"{VENDORS['amd'].device}{minors[0]}" if minors else None,
    )


def _partitions(tree: Tree, function: PciFunction, kfd_nodes: Sequence[_KfdNode]) -> Iterator[FoundGpu]:
    """The partitions of a GPU, except the first, which is the function itself: those that can be opened."""
    model = one_line(tree.text(f"{_DEVICES}/{function.bdf}/product_name"))
    for number, node in enumerate(_own(function, kfd_nodes)):
        if number == 0 or number > _LAST_FUNCTION or node.render_minor is None:
            continue
        yield FoundGpu(
            "amd",
            f"{function.bdf[:-1]}{number}",
            node.render_minor,
            f"GPU-{node.unique_id:016x}" if node.unique_id else None,
            model,
            f"{VENDORS['amd'].device}{node.render_minor}",
        )


def _own(function: PciFunction, kfd_nodes: Sequence[_KfdNode]) -> list[_KfdNode]:
    """The kfd nodes of a function in the order of the partitions, even if these have no numbers."""
    own = (node for node in kfd_nodes if node.bdf == function.bdf)
    return sorted(own, key=lambda node: node.partition)


def _kfd_nodes(tree: Tree) -> tuple[_KfdNode, ...]:
    """The GPUs of the kfd topology; its CPU nodes have no location."""
    found = []
    for number in tree.numbered(_KFD_NODES, ""):
        lines = (tree.text(f"{_KFD_NODES}/{number}/properties") or "").splitlines()
        values = {name: to_number(value) for name, _, value in (line.partition(" ") for line in lines)}
        location = values.get("location_id")
        if not location or location < 0:
            continue
        # Bus, device and function as PCI packs them; higher bits have the partition's number.
        bus, slot, function = location >> 8 & 0xFF, location >> 3 & 0x1F, location & 7
        bdf = f"{values.get('domain') or 0:04x}:{bus:02x}:{slot:02x}.{function:x}"
        render_minor = values.get("drm_render_minor")
        # For a partition without a render node of its own this is 0 or -1.
        minor = render_minor if render_minor is not None and render_minor > 0 else None
        found.append(_KfdNode(bdf, location >> 28, minor, values.get("unique_id")))
    return tuple(found)
