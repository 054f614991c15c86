"""Whether a machine is still as it was read, for callers that keep a topology; job tables are always new."""

from __future__ import annotations

from zlib import crc32

from ..light_typing import TYPE_CHECKING
from ..sysfs import Tree, fields

if TYPE_CHECKING:
    from ..sysfs import AnyPath


def fingerprint(root: AnyPath = "/") -> str:
    """What must be unchanged for an earlier topology to be still valid; equal strings, equal machine.

    Boot id, and a checksum over the online CPUs, nodes, PCI functions, drivers' GPUs with their minors,
    render nodes and MIG instances. Costs a few listings and at most one small file per GPU.
    """
    tree = Tree(root)
    parts = [tree.text(f"sys/devices/system/{kind}/online") or "" for kind in ("cpu", "node")]
    parts += sorted(tree.names("sys/bus/pci/devices"))
    parts += sorted(tree.names("sys/class/drm"))
    gpus = "proc/driver/nvidia/gpus"
    for name in sorted(tree.names(gpus)):
        # Not the whole file: the driver fills in UUID and firmware when the GPU is first used.
        parts += [name, fields(tree.text(f"{gpus}/{name}/information")).get("Device Minor", "")]
    capabilities = "proc/driver/nvidia/capabilities"
    for name in sorted(tree.names(capabilities)):
        parts += [name, *sorted(tree.names(f"{capabilities}/{name}/mig"))]
    boot_id = tree.text("proc/sys/kernel/random/boot_id") or "unknown"
    return f"{boot_id}:{crc32(chr(0).join(parts).encode('utf-8', 'surrogateescape')):08x}"
