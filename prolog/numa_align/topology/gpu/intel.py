"""Intel GPUs: discrete ones of the i915 and xe drivers, with their render nodes.

Source: Documentation/gpu/i915.rst, Documentation/gpu/xe and, for the render node below the PCI
function, Documentation/gpu/drm-uapi.rst.
"""

from __future__ import annotations

from ...light_typing import TYPE_CHECKING
from ...sysfs import Tree
from .pci import FoundGpu, PciFunction
from .vendors import VENDORS

if TYPE_CHECKING:
    from collections.abc import Sequence

VENDOR = VENDORS["intel"].pci

#: VGA, 3D and other display controllers. Accelerators are left out: Intel's are FPGAs and NPUs.
_CLASSES = (0x0300, 0x0302, 0x0380)

_DRIVERS = (None, "i915", "xe")

#: The address of a processor's integrated graphics in every generation. These share the machine's
#: memory, and Slurm does not hand them out.
_INTEGRATED = "0000:00:02.0"


def find(tree: Tree, functions: Sequence[PciFunction]) -> tuple[FoundGpu, ...]:
    """The discrete Intel GPUs among these PCI functions; only Level Zero knows their UUIDs."""
    return tuple(
        _describe(tree, function.bdf)
        for function in functions
        if function.vendor == VENDOR
        and function.class_code in _CLASSES
        and function.driver in _DRIVERS
        and function.bdf != _INTEGRATED
    )


def _describe(tree: Tree, bdf: str) -> FoundGpu:
    minors = tree.numbered(f"sys/bus/pci/devices/{bdf}/drm", "renderD")
    device = f"{VENDORS['intel'].device}{minors[0]}" if minors else None
    return FoundGpu("intel", bdf, minors[0] if minors else None, None, None, device)
