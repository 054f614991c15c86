"""NVIDIA GPUs, from the driver's files, without initialising anything; through NVML only without them.

``/proc/driver/nvidia/gpus/BDF/information`` has ``Model``, ``GPU UUID``, ``Bus Location`` and ``Device
Minor``; ``numa_status`` beside it names the NUMA node that the kernel made of the GPU's memory.
Source: the driver's README, chapter "Using the /proc File System Interface", and NVIDIA's MIG
user guide, section "Device Nodes and Capabilities".
"""

from __future__ import annotations

from ...light_typing import TYPE_CHECKING
from ...sysfs import Tree, fields, one_line, to_number
from .pci import FoundGpu, PciFunction, normalise_bdf
from .vendors import VENDORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Optional

VENDOR = VENDORS["nvidia"].pci
_DEVICE = VENDORS["nvidia"].device

#: VGA controller and 3D controller; audio functions and NVSwitches have others.
_CLASSES = (0x0300, 0x0302)

#: A function that another driver holds for a virtual machine is not a GPU of this machine.
_HANDED_OUT = ("vfio-pci", "pci-stub")

_PROC = "proc/driver/nvidia"

_UUID_CHARACTERS = frozenset("0123456789abcdefABCDEF-")


def find(tree: Tree, functions: Sequence[PciFunction]) -> tuple[FoundGpu, ...]:
    """The NVIDIA GPUs that the driver lists; without the driver's files, those that PCI shows.

    What the driver lists is a GPU whatever its PCI class. On the live machine NVML is
    asked if the driver's files are missing, as in containers that hide them.
    """
    announced = tuple(_announced(tree))
    if announced or tree.exists(f"{_PROC}/gpus"):
        return announced
    shown = [
        function.bdf
        for function in functions
        if function.vendor == VENDOR
        and function.class_code in _CLASSES
        and function.driver not in _HANDED_OUT
    ]
    if not shown:
        return ()
    if tree.is_live and tree.exists("dev/nvidiactl"):
        from . import nvml  # noqa: PLC0415 (for containers; the prolog has the driver's files)

        by_nvml = nvml.gpus()
        if by_nvml:
            return by_nvml
    return tuple(FoundGpu("nvidia", bdf) for bdf in shown)


def _announced(tree: Tree) -> Iterator[FoundGpu]:
    for name in tree.names(f"{_PROC}/gpus"):
        directory = f"{_PROC}/gpus/{name}"
        information = fields(tree.text(f"{directory}/information"))
        bdf = normalise_bdf(name) or normalise_bdf(information.get("Bus Location", ""))
        if bdf is None or information.get("GPU Excluded") == "Yes":
            continue
        minor = to_number(information.get("Device Minor"))
        if minor is not None and minor < 0:
            minor = None
        node = to_number(fields(tree.text(f"{directory}/numa_status")).get("Node"))
        yield FoundGpu(
            "nvidia",
            bdf,
            minor,
            _uuid(information.get("GPU UUID")),
            one_line(information.get("Model")),
            None if minor is None else _DEVICE + str(minor),
            None if node is None or node < 0 else node,
        )


def _uuid(text: Optional[str]) -> Optional[str]:
    # Until the GPU is first opened, the driver prints question marks instead of the digits.
    if not text or not text.startswith("GPU-") or not set(text[4:]) <= _UUID_CHARACTERS:
        return None
    return text


def mig_instances(tree: Tree, minor: int) -> tuple[int, ...]:
    """Numbers of the MIG GPU instances of ``/dev/nvidia<minor>``, ascending.

    From ``/proc/driver/nvidia/capabilities/gpu<minor>/mig/gi<N>``.
    """
    return tuple(tree.numbered(f"{_PROC}/capabilities/gpu{minor}/mig", "gi"))
