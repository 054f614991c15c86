"""What differs between GPU vendors: a new one is a record here, a module, and a row in C.

The row is in `na_visible_variable`, and in `na_inner_variables`, of spank/placement/gpu_list.c; a test
compares them.
"""

from __future__ import annotations

from ...light_typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Optional


class Vendor(NamedTuple):
    """``pci`` is the vendor's PCI id; the record's name is also that of its module beside this one.

    ``visible`` is the variable that shows its runtime some of the GPUs, ``order`` a variable that
    makes the runtime count them by PCI address, None if it always does (CUDA: Programming Guide,
    "CUDA Environment Variables"; Level Zero: Core Programming Guide, "Environment Variables").
    ``inner`` are the variables that show a library above that runtime some of the rest; the first that is
    not empty counts (HIP: ROCm's "GPU isolation techniques").
    ``device`` is the path of a GPU's device file without its minor; ``beside`` lists other files that a
    container needs. ``gres_flag`` is the Flags= of gres.conf that sets only this vendor's variable,
    ``detector`` Slurm's AutoDetect= for it, ``resource`` the name of a GPU in Kubernetes' device plugin,
    ``cdi`` the kind of its devices in CDI files, None if no usual tool writes such a file.
    """

    pci: int
    visible: str
    inner: tuple[str, ...]
    order: Optional[tuple[str, str]]
    device: str
    beside: tuple[str, ...]
    gres_flag: str
    detector: Optional[str]
    resource: str
    cdi: Optional[str]


VENDORS = {
    "nvidia": Vendor(
        pci=0x10DE,
        visible="CUDA_VISIBLE_DEVICES",
        inner=(),
        order=("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
        device="/dev/nvidia",
        beside=(),
        gres_flag="nvidia_gpu_env",
        detector="nvml",
        resource="nvidia.com/gpu",
        cdi="nvidia.com/gpu",
    ),
    "amd": Vendor(
        pci=0x1002,
        visible="ROCR_VISIBLE_DEVICES",
        inner=("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
        order=None,
        device="/dev/dri/renderD",
        beside=("/dev/kfd",),
        gres_flag="amd_gpu_env",
        detector="rsmi",
        resource="amd.com/gpu",
        cdi="amd.com/gpu",
    ),
    "intel": Vendor(
        pci=0x8086,
        visible="ZE_AFFINITY_MASK",
        inner=(),
        order=("ZE_ENABLE_PCI_ID_DEVICE_ORDER", "1"),
        device="/dev/dri/renderD",
        beside=(),
        gres_flag="intel_gpu_env",
        detector=None,
        resource="gpu.intel.com/i915",
        cdi=None,
    ),
}
