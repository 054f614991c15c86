"""Which GPU of a machine is meant: by the names that people and programs use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ..sysfs import Tree
from .gpu.nvidia import mig_instances, mig_parent
from .model import Gpu


def gpu_of_uuid(uuid: str, gpus: Sequence[Gpu], tree: Tree) -> Optional[Gpu]:
    """The GPU that a UUID names, be it the GPU's own or that of a MIG instance of it.

    Takes what CUDA_VISIBLE_DEVICES takes: ``GPU-…`` (the first characters suffice while
    they name only one), ``MIG-GPU-<uuid>/<gi>/<ci>`` of drivers before 470, and ``MIG-<uuid>``. The last
    says nothing about its GPU: where only one GPU has MIG instances it is that one, otherwise
    NVML is asked, on the live machine. None where nobody knows.
    """
    nvidia = [gpu for gpu in gpus if gpu.vendor == "nvidia"]
    if uuid.startswith("MIG-GPU-"):
        uuid = uuid[len("MIG-") :].partition("/")[0]
    if uuid.startswith("GPU-"):
        matches = [gpu for gpu in nvidia if gpu.uuid is not None and gpu.uuid.startswith(uuid)]
        return matches[0] if len(matches) == 1 else None
    if not uuid.startswith("MIG-"):
        return None
    divided = [gpu for gpu in nvidia if gpu.minor is not None and mig_instances(tree, gpu.minor)]
    if len(divided) == 1:
        return divided[0]
    bdf = mig_parent(uuid) if tree.is_live else None
    return next((gpu for gpu in nvidia if gpu.bdf == bdf), None)
