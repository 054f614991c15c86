"""The masks beside the lists: kernels write both, our readers need the lists, hwloc reads the masks."""

from __future__ import annotations

from pathlib import Path

from numa_align.cpulist import format_cpumap, parse_cpulist

_MASKS = {
    "core_cpus_list": ("core_cpus", "thread_siblings"),
    "package_cpus_list": ("package_cpus", "core_siblings"),
    "shared_cpu_list": ("shared_cpu_map",),
    "cpulist": ("cpumap",),
}


def add_masks(root: Path) -> Path:
    """Write the mask of every list of CPUs below ``root``; what is there already stays."""
    for name, masks in _MASKS.items():
        for file in root.glob(f"sys/devices/system/**/{name}"):
            cpus = parse_cpulist(file.read_text())
            for mask in masks:
                if not file.with_name(mask).exists():
                    file.with_name(mask).write_text(format_cpumap(cpus) + "\n")
    return root
