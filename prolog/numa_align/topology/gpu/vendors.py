"""What differs from one maker of GPUs to the next: a new one is a record here, a module, and a row in C.

The row is that of `na_visible_variable`, and of `na_inner_variables`, in spank/placement/gpu_list.c; a test
holds both together.
"""

from __future__ import annotations

from ...light_typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Optional


class Vendor(NamedTuple):
    """``pci`` is the vendor's PCI id, and the name of the record that of its module beside this one.

    ``visible`` is the variable by which its runtime is shown some of the GPUs, ``order`` a variable that
    makes the runtime count them by PCI address, None where it does anyway (CUDA: Programming Guide,
    "CUDA Environment Variables"; Level Zero: Core Programming Guide, "Environment Variables").
    ``inner`` are the variables by which a library on top of that runtime shows some of what is left, of which
    the first that is not empty counts (HIP: ROCm's "GPU isolation techniques").
    ``device`` is how the path of a GPU's device file begins, before its minor; ``beside`` lists those that a
    container needs besides. ``gres_flag`` is the Flags= of gres.conf that sets only this vendor's variable,
    ``detector`` Slurm's AutoDetect= for it, ``resource`` how Kubernetes' device plugin calls a GPU,
    ``cdi`` the kind of its devices in CDI files, None where no usual tool writes such a file.
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
