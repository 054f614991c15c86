"""All GPUs of the machine, of any vendor."""

from __future__ import annotations

from ...sysfs import Tree
from .pci import FoundGpu, bdf_key, candidates
from .vendors import VENDORS


def find_gpus(tree: Tree) -> tuple[FoundGpu, ...]:
    """The GPUs, ascending by address, each address once.

    The displays of management controllers, which almost every server has (ASPEED, Matrox, Cirrus), are
    left out as they are not from one of the three vendors. A vendor's module is imported only if the
    machine has something of the vendor: the prolog starts a new process for every job.
    """
    functions = candidates(tree)
    vendors = {function.vendor for function in functions}
    found: dict[str, FoundGpu] = {}
    for name, vendor in VENDORS.items():
        # Whatever its driver lists is an NVIDIA GPU, with or without a matching PCI function.
        announced = name == "nvidia" and tree.exists("proc/driver/nvidia/gpus")
        if vendor.pci in vendors or announced:
            # What importlib.import_module does; the prolog avoids importing importlib.
            module = __import__(f"{__package__}.{name}", fromlist=["find"])
            found.update((gpu.bdf, gpu) for gpu in module.find(tree, functions))
    return tuple(sorted(found.values(), key=lambda gpu: bdf_key(gpu.bdf)))
