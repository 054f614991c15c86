"""Whose cores are near: this package beside NVIDIA's gpu_affinity and PyTorch's torch.numa.

    python tests/bench/claim_compare.py --gpu-affinity FILE --torch-numa FILE

FILE is ``gpu_affinity/gpu_affinity.py`` of a checkout of NVIDIA/gpu_affinity (it is not on PyPI) and
``torch/numa/binding.py`` of PyTorch (2.13.0). Both run as they are, in the modes and with the arguments
that they have by default (``unique_contiguous`` of scope node, and of scope socket as its text advises
for the DGX A100; ``exclusive``). What they ask the machine
is answered from the same trees: sysfs, the CPUs of the step, and for NVML and CUDA the GPUs' addresses
and CPUs. A tool whose file is not given is left out.

One task per GPU. Cores: used by any task; idle, of those in the step; far, not on the node of the GPU of
a task that has them; shared by several tasks. "fails": the tool raises an error for at least one task.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Optional

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "prolog"))

from builder import Device, ExtraNode, Machine, on_nodes
from numa_align.cpulist import format_cpulist
from numa_align.placement.plan import Request, make_plan, select_cpus
from numa_align.topology.model import Core, Topology

Slices = list[tuple[int, ...]]


@dataclass(frozen=True)
class Shape:
    """A machine and the CPUs of a step on it (None: all)."""

    name: str
    machine: Machine
    cpus: Optional[str] = None


_SOCKETS = Machine(packages=2, caches=2, cores=8, smt=2, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1))
_GPU_NODES = tuple(ExtraNode(node, 0 if node % 8 != 2 else 96 << 30, "gpu-memory") for node in range(2, 34))
SHAPES = (
    Shape("two sockets x 4 GPUs", _SOCKETS),
    Shape(
        "DGX A100 NPS4",
        Machine(packages=2, nodes=4, caches=4, cores=4, smt=2, gpus=on_nodes(3, 3, 1, 1, 7, 7, 5, 5)),
    ),
    Shape(
        "SNC4, GPUs on nodes 0,3,4,7",
        Machine(packages=2, nodes=4, cores=12, smt=2, gpus=on_nodes(0, 3, 4, 7)),
    ),
    Shape(
        "POWER9, SMT4, 5 GPUs",
        Machine(
            packages=2, cores=20, smt=4, siblings_apart=False, node_ids=(0, 8), gpus=on_nodes(0, 0, 0, 8, 8)
        ),
    ),
    Shape(
        "GB200",
        Machine(
            packages=2, cores=72, extra_nodes=_GPU_NODES,
            gpus=tuple(Device(i // 2, memory_node=2 + 8 * i) for i in range(4)),
        ),
    ),
    Shape(
        "MI250X order",
        Machine(nodes=4, caches=2, cores=8, smt=2, gpus=on_nodes(3, 3, 1, 1, 0, 0, 2, 2)),
    ),
    Shape("7 cores for 2 GPUs", Machine(cores=7, smt=2, gpus=on_nodes(0, 0))),
    Shape("uneven: 3 GPUs and 1", Machine(packages=2, cores=16, smt=2, gpus=on_nodes(0, 0, 0, 1))),
    Shape("step: 12 cores of 16 and 4 of 16", _SOCKETS, "0-11,16-19,32-43,48-51"),
    Shape("step: one socket of two", _SOCKETS, "0-15,32-47"),
    Shape("step: 3 cores per socket, 4 GPUs each", _SOCKETS, "0-2,16-18,32-34,48-50"),
    Shape(
        "GPUs without numa_node",
        Machine(packages=2, cores=16, smt=2, gpus=tuple(Device(None, source="none") for _ in range(4))),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Situation:
    """A step on a machine, and the machine's tree."""

    root: Path
    topology: Topology
    cpus: tuple[int, ...]


Tool = Callable[[Situation], Slices]


def load(path: Path, name: str) -> ModuleType:
    """A module from a file that is not on Python's path."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


#: Names of modules that are not valid names of arguments.
_DOTTED = {"torch__internal": "torch._utils_internal"}


@contextmanager
def modules(**stand_ins: object) -> Iterator[None]:
    """Stand-ins for packages that would need a GPU or be large to install."""
    named = {_DOTTED.get(name, name): module for name, module in stand_ins.items()}
    before = {name: sys.modules.get(name) for name in named}
    sys.modules.update(named)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def write(machine: Machine, root: Path) -> Path:
    """The machine's tree, with the older name of the list of siblings, which both tools read."""
    machine.write(root)
    for core in machine.topology().cores:
        for cpu in core.cpus:
            folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
            (folder / "thread_siblings_list").write_text(format_cpulist(core.cpus) + "\n")
    return root


def gpu_affinity(path: Path, scope: str) -> Tool:
    """unique_contiguous, all logical CPUs, balanced: its defaults, but for the scope."""

    def slices(at: Situation) -> Slices:
        current = set(at.cpus)

        def bind(_: int, wanted: list[int]) -> None:
            if not wanted:
                raise OSError("no CPU")
            current.clear()
            current.update(wanted)

        with modules(pynvml=nvml_of(at.topology)):
            tool: Any = load(path, "gpu_affinity_file")
        tool.os = SimpleNamespace(
            environ={}, sched_setaffinity=bind, sched_getaffinity=lambda _: set(current)
        )
        tool.pathlib = SimpleNamespace(Path=lambda _: at.root)
        found = []
        for gpu in range(len(at.topology.gpus)):
            bind(0, list(at.cpus))
            got = tool.set_affinity(gpu, len(at.topology.gpus), scope=tool.Scope[scope])
            found.append(tuple(sorted(got)))
        return found

    return slices


def nvml_of(topology: Topology) -> SimpleNamespace:
    """What NVML says of this machine's GPUs."""
    package = {core.node: core.package for core in topology.cores}

    def affinity(gpu: int, _: int, socket: int) -> list[int]:
        node = topology.gpus[gpu].node
        near = [
            cpu
            for core in topology.cores
            for cpu in core.cpus
            if node is None or (package[core.node] == package[node] if socket else core.node == node)
        ]
        mask = sum(1 << cpu for cpu in near)
        return [mask >> 64 * i & (1 << 64) - 1 for i in range(max(topology.online) // 64 + 1)]

    return SimpleNamespace(
        NVML_AFFINITY_SCOPE_NODE=0,
        NVML_AFFINITY_SCOPE_SOCKET=1,
        NVMLError=OSError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetCpuAffinityWithinScope=affinity,
    )


def torch_numa(path: Path) -> Tool:
    """The mode exclusive, for each local rank."""

    def slices(at: Situation) -> Slices:
        def properties(gpu: int) -> SimpleNamespace:
            domain, bus, device = at.topology.gpus[gpu].bdf.partition(".")[0].split(":")
            return SimpleNamespace(
                pci_domain_id=int(domain, 16), pci_bus_id=int(bus, 16), pci_device_id=int(device, 16)
            )

        gpus = range(len(at.topology.gpus))
        cuda = SimpleNamespace(device_count=lambda: len(gpus), get_device_properties=properties)
        internal = SimpleNamespace(signpost_event=lambda *_, **__: None)
        with modules(torch=SimpleNamespace(cuda=cuda), torch__internal=internal):
            tool: Any = load(path, "torch_numa_binding")
        tool.open = lambda name: StringIO(Path(f"{at.root}{name}").read_text())
        tool.os = SimpleNamespace(sched_getaffinity=lambda _: set(at.cpus))
        tool.shutil = SimpleNamespace(which=lambda _: "numactl")
        options = tool.NumaOptions(affinity_mode=tool.AffinityMode.EXCLUSIVE)
        bind = tool._get_validated_logical_cpus_to_bind_to
        return [tuple(sorted(bind(gpu_index=gpu, numa_options=options))) for gpu in gpus]

    return slices


def numa_align(at: Situation) -> Slices:
    """What srun --numa-align gives."""
    every = tuple(range(len(at.topology.gpus)))
    plan = make_plan(at.topology, Request(len(every), every, at.cpus))
    return [placed.cpus for placed in plan.placements]


def judge(at: Situation, slices: Slices) -> str:
    """Used, idle, far, shared, in cores."""
    core_of = {cpu: core for core in at.topology.cores for cpu in core.cpus}
    step = {core_of[cpu] for cpu in at.cpus}
    held = [{core_of[cpu] for cpu in mine} for mine in slices]
    used: set[Core] = set().union(*held)
    far = {core for gpu, mine in zip(at.topology.gpus, held) for core in mine if core.node != gpu.node}
    sharers = Counter(cpu for mine in slices for cpu in mine)
    shared = {core_of[cpu] for cpu, count in sharers.items() if count > 1}
    return f"{len(used)} / {len(step - used)} / {len(far)} / {len(shared)}"


def attempt(tool: Tool, at: Situation) -> str:
    """The figures, or that there are none."""
    try:
        return judge(at, tool(at))
    except Exception as error:  # whatever a tool raises, its user sees
        return f"fails ({type(error).__name__})"


def tools(arguments: argparse.Namespace) -> dict[str, Tool]:
    """The columns of the table."""
    found: dict[str, Tool] = {"numa-align": numa_align}
    if arguments.gpu_affinity:
        found["gpu_affinity node"] = gpu_affinity(arguments.gpu_affinity, "NODE")
        found["gpu_affinity socket"] = gpu_affinity(arguments.gpu_affinity, "SOCKET")
    if arguments.torch_numa:
        found["torch.numa"] = torch_numa(arguments.torch_numa)
    return found


def main() -> None:
    """Prints the table of docs/claim.md."""
    parser = argparse.ArgumentParser(description="Compare the claim with other tools.")
    parser.add_argument("--gpu-affinity", type=Path, metavar="FILE")
    parser.add_argument("--torch-numa", type=Path, metavar="FILE")
    columns = tools(parser.parse_args())
    print("| used / idle / far / shared cores | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for shape in SHAPES:
        topology = shape.machine.topology()
        with tempfile.TemporaryDirectory() as folder:
            at = Situation(write(shape.machine, Path(folder)), topology, select_cpus(topology, shape.cpus))
            print(f"| {shape.name} | " + " | ".join(attempt(tool, at) for tool in columns.values()) + " |")


if __name__ == "__main__":
    main()
