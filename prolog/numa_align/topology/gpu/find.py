"""All GPUs of the machine, whoever made them."""

from __future__ import annotations

from ...sysfs import Tree
from .pci import FoundGpu, bdf_key, candidates


def find_gpus(tree: Tree) -> tuple[FoundGpu, ...]:
    """The GPUs, ascending by address, each address once.

    The displays of management controllers that almost every server has (ASPEED, Matrox, Cirrus)
    are left out by being none of the three vendors'. A vendor's module is imported only where
    there is something of the vendor: the prolog starts a new process for every job.
    """
    functions = candidates(tree)
    vendors = {function.vendor for function in functions}
    found: dict[str, FoundGpu] = {}
    # Whatever its driver announces is an NVIDIA GPU, with or without a matching PCI function.
    if 0x10DE in vendors or tree.exists("proc/driver/nvidia/gpus"):
        from . import nvidia  # noqa: PLC0415

        found.update((gpu.bdf, gpu) for gpu in nvidia.find(tree, functions))
    if 0x1002 in vendors:
        from . import amd  # noqa: PLC0415

        found.update((gpu.bdf, gpu) for gpu in amd.find(tree, functions))
    if 0x8086 in vendors:
        from . import intel  # noqa: PLC0415

        found.update((gpu.bdf, gpu) for gpu in intel.find(tree, functions))
    return tuple(sorted(found.values(), key=lambda gpu: bdf_key(gpu.bdf)))
