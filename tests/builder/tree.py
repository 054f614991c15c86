"""A machine's description as files, the way kernels lay them out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from numa_align.cpulist import format_cpulist, format_cpumap

from .cards import write_card, write_disk

if TYPE_CHECKING:
    from .cards import Card, NvmeDisk
    from .machine import Device, Machine


def write(machine: Machine, root: Path) -> None:
    """Make all files below ``root``."""
    _put(root / "proc/sys/kernel/random/boot_id", machine.boot_id)
    total = machine.memory_bytes * len(machine.cpu_nodes)
    if not machine.has_node_directory:
        total = machine.memory_bytes
    _put(root / "proc/meminfo", f"MemTotal:       {total // 1024} kB\nMemFree:  1 kB")
    _write_cpus(machine, root / "sys/devices/system/cpu")
    if machine.has_node_directory:
        _write_nodes(machine, root / "sys/devices/system/node")
    for position, device in enumerate(machine.gpus):
        _write_device(machine, device, position, root)
    for card in machine.cards:
        write_card(card, _write_function(machine, root, card), root)
    for disk in machine.disks:
        write_disk(disk, _write_function(machine, root, disk), root)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def _write_cpus(machine: Machine, directory: Path) -> None:
    if not machine.old_kernel:
        _put(directory / "online", format_cpulist(machine.online))
        _put(directory / "possible", format_cpulist(cpu for core in machine.threads for cpu in core))
    per_package = machine.nodes * machine.caches * machine.cores
    for core, threads in enumerate(machine.threads):
        package = machine.online_of(machine.group(core, per_package))
        for cpu in threads:
            own = directory / f"cpu{cpu}"
            own.mkdir(parents=True, exist_ok=True)
            if cpu > 0:
                _put(own / "online", "0" if cpu in machine.offline else "1")
            if cpu in machine.offline:
                continue
            siblings = machine.online_of(range(core, core + 1))
            _put(own / "topology/physical_package_id", str(core // per_package))
            _put(own / "topology/core_id", str(core % per_package))
            _put_set(machine, own / "topology", ("core_cpus", "thread_siblings"), siblings)
            _put_set(machine, own / "topology", ("package_cpus", "core_siblings"), package)
            if machine.has_caches:
                _write_caches(machine, core, own / "cache")


def _put_set(machine: Machine, directory: Path, names: tuple[str, str], cpus: tuple[int, ...]) -> None:
    """Under the name of today, or the one that old kernels have, those without lists."""
    if machine.old_kernel:
        _put(directory / names[1], format_cpumap(cpus))
    else:
        _put(directory / f"{names[0]}_list", format_cpulist(cpus))


def _write_caches(machine: Machine, core: int, directory: Path) -> None:
    own = machine.online_of(range(core, core + 1))
    shared = machine.online_of(machine.group(core, machine.cores))
    for index, (level, cpus) in enumerate([(1, own), (1, own), (2, own), (3, shared)]):
        _put(directory / f"index{index}/level", str(level))
        _put(directory / f"index{index}/size", ("32K", "32K", "1024K", "32768K")[index])
        if machine.old_kernel:
            _put(directory / f"index{index}/shared_cpu_map", format_cpumap(cpus))
        else:
            _put(directory / f"index{index}/shared_cpu_list", format_cpulist(cpus))


def _write_nodes(machine: Machine, directory: Path) -> None:
    sizes = dict.fromkeys(machine.cpu_nodes, machine.memory_bytes)
    sizes.update((node, 0) for node in machine.cpu_only_nodes)
    sizes.update((extra.id, extra.memory_bytes) for extra in machine.extra_nodes)
    if not machine.old_kernel:
        _put(directory / "online", format_cpulist(machine.all_nodes))
        _put(directory / "has_cpu", format_cpulist(machine.cpu_nodes))
    for row, node in zip(machine.distances, machine.all_nodes):
        own = directory / f"node{node}"
        cpus = machine.cpus_of_node(node)
        if not machine.old_kernel:
            _put(own / "cpulist", format_cpulist(cpus))
        _put(own / "cpumap", format_cpumap(cpus))
        _put(own / "distance", " ".join(str(distance) for distance in row))
        _put(
            own / "meminfo",
            f"Node {node} MemTotal:       {sizes[node] // 1024} kB\nNode {node} MemFree:  1 kB",
        )


def _write_device(machine: Machine, device: Device, position: int, root: Path) -> None:
    bdf = machine.address(position)
    domain, bus, _ = bdf.split(":")
    root_bus = f"{domain}:{int(bus, 16) - 1:02x}"
    port = device.way or f"pci{root_bus}/{root_bus}:01.0"
    bridge = root / "sys/devices" / port
    own = bridge / bdf
    _put(own / "class", f"0x{device.class_code:06x}")
    _put(own / "vendor", f"0x{device.vendor:04x}")
    _put(own / "device", f"0x{device.device:04x}")
    node = -1 if device.node is None else device.node
    _put_locality(machine, own, node, device.source in ("numa_node",), device.source == "local_cpulist")
    _put_locality(machine, bridge, node, device.source == "bridge", False)
    links = root / "sys/bus/pci/devices"
    links.mkdir(parents=True, exist_ok=True)
    (links / bdf).symlink_to(f"../../../devices/{port}/{bdf}")
    if device.driver is not None:
        (own / "driver").symlink_to(f"../../../../bus/pci/drivers/{device.driver}")
        if device.vendor != 0x10DE:
            (own / f"drm/renderD{machine.minor(position)}").mkdir(parents=True)
            (own / f"drm/card{position + 1}").mkdir()  # card 0 is the server board's display
    if device.uuid is not None and device.vendor == 0x1002:
        _put(own / "unique_id", device.uuid.partition("-")[2])
    if device.vendor not in (0x1002, 0x8086) and device.is_gpu and device.in_procfs:
        _write_procfs(device, bdf, machine.minor(position), root / "proc/driver/nvidia")


def _write_function(machine: Machine, root: Path, what: Card | NvmeDisk) -> Path:
    """The PCI function of a card or disk, and its bridges as far as they are directories; where it is."""
    own = root / "sys/devices" / what.way / what.bdf
    _put(own / "class", f"0x{what.class_code:06x}")
    _put(own / "vendor", f"0x{what.vendor:04x}")
    _put(own / "device", f"0x{what.device:04x}")
    _put_locality(machine, own, -1 if what.node is None else what.node, what.node is not None, False)
    links = root / "sys/bus/pci/devices"
    links.mkdir(parents=True, exist_ok=True)
    (links / what.bdf).symlink_to(f"../../../devices/{what.way}/{what.bdf}")
    return own


def _put_locality(machine: Machine, directory: Path, node: int, by_node: bool, by_cpus: bool) -> None:
    local = machine.cpus_of_node(node) if by_node or by_cpus else machine.online
    _put(directory / "numa_node", str(node if by_node else -1))
    _put(directory / "local_cpulist", format_cpulist(local))
    _put(directory / "local_cpus", format_cpumap(local))


def _write_procfs(device: Device, bdf: str, minor: int, directory: Path) -> None:
    own = directory / "gpus" / bdf
    uuid = device.uuid or "GPU-????????-????-????-????-????????????"
    _put(
        own / "information",
        f"Model: \t\t {device.model}\nIRQ:   \t\t 100\nGPU UUID: \t {uuid}\nBus Type: \t PCIe\n"
        f"Bus Location: \t {bdf}\nDevice Minor: \t {minor}\nGPU Excluded:\t No",
    )
    if device.memory_node is not None:
        _put(own / "numa_status", f"Node:      {device.memory_node}\nStatus:    online")
    for instance in device.mig_instances:
        _put(
            directory / f"capabilities/gpu{minor}/mig/gi{instance}/access",
            "DeviceFileMinor: 3\nDeviceFileMode: 292",
        )
