"""A binding as options of other tools: numactl, taskset, docker, podman, Kubernetes, systemd. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ..cpulist import format_cpulist
from ..errors import RequestError
from ..placement.claim import Machine, Placement
from ..placement.decide import Decision
from ..topology.model import Gpu, Topology

TOOLS = ("numactl", "taskset", "docker", "podman", "kubernetes", "systemd", "env")


@dataclass(frozen=True)
class Shown:
    """``text`` is for the tool (options, or a file's content); ``notes`` are sentences for the person."""

    text: str
    notes: tuple[str, ...] = ()


def show(tool: str, topology: Topology, decision: Decision, gpus: Sequence[Gpu]) -> Shown:
    """The binding of ``gpus`` in the words of ``tool``, one of `TOOLS`."""
    placement = decision.placement
    writer = {
        "numactl": _numactl,
        "taskset": _taskset,
        "docker": _docker,
        "podman": _podman,
        "systemd": _systemd,
    }.get(tool)
    if writer is not None:
        return writer(topology, placement, gpus)
    if tool == "env":
        return _env(decision)
    return _kubernetes(topology, gpus)


def _cpus(placement: Placement) -> str:
    return format_cpulist(placement.cpus)


def _nodes(placement: Placement) -> str:
    return format_cpulist(placement.memory_nodes)


def _numactl(topology: Topology, placement: Placement, gpus: Sequence[Gpu]) -> Shown:
    words = {
        "preferred": "--preferred={}",
        "preferred-many": "--preferred-many={}",
        "bind": "--membind={}",
        "interleave": "--interleave={}",
        "local": "--localalloc",
    }
    parts = [f"--physcpubind={_cpus(placement)}"]
    if placement.policy in words:
        parts.append(words[placement.policy].format(_nodes(placement)))
    notes: tuple[str, ...] = ()
    if placement.policy == "preferred-many":
        instead = f"; before: --preferred={_nodes(placement)}" if len(placement.memory_nodes) == 1 else ""
        notes = (f"--preferred-many needs numactl 2.0.15 and Linux 5.15{instead}",)
    return Shown(" ".join(parts), notes)


def _taskset(topology: Topology, placement: Placement, gpus: Sequence[Gpu]) -> Shown:
    return Shown(
        f"--cpu-list {_cpus(placement)}",
        ("taskset sets no memory policy: memory comes from the node of whichever CPU touches it first",),
    )


def _container(placement: Placement) -> str:
    """Without --cpuset-mems where no node is known to be near: an empty list would be refused."""
    nodes = f" --cpuset-mems={_nodes(placement)}" if placement.memory_nodes else ""
    return f"--cpuset-cpus={_cpus(placement)}{nodes}"


_HARD = (
    "--cpuset-mems is a hard limit: a container that needs more than these nodes have is killed; "
    "`numa-align run` inside prefers them instead (--cap-add SYS_NICE)"
)


def _names(topology: Topology, gpus: Sequence[Gpu]) -> list[str]:
    """UUIDs where all are known; else NVML's numbers, which count NVIDIA's GPUs by address."""
    if all(gpu.uuid for gpu in gpus):
        return [gpu.uuid for gpu in gpus if gpu.uuid]
    order = [gpu.bdf for gpu in topology.gpus if gpu.vendor == "nvidia"]
    return [str(order.index(gpu.bdf)) for gpu in gpus]


def _device_files(gpus: Sequence[Gpu]) -> list[str]:
    """GPUs that a container gets as device files; AMD's runtime needs /dev/kfd beside them."""
    files = [f"--device={gpu.device}" for gpu in gpus if gpu.vendor != "nvidia" and gpu.device]
    return (["--device=/dev/kfd"] if any(gpu.vendor == "amd" for gpu in gpus) else []) + files


def _docker(topology: Topology, placement: Placement, gpus: Sequence[Gpu]) -> Shown:
    parts = [_container(placement)]
    nvidia = [gpu for gpu in gpus if gpu.vendor == "nvidia"]
    if nvidia:
        devices = "device=" + ",".join(_names(topology, nvidia))
        # docker reads the value as CSV, so that a list needs quotes of its own.
        parts.append("--gpus " + (shlex.quote(f'"{devices}"') if len(nvidia) > 1 else devices))
    return Shown(" ".join(parts + _device_files(gpus)), (_HARD,))


def _podman(topology: Topology, placement: Placement, gpus: Sequence[Gpu]) -> Shown:
    nvidia = [gpu for gpu in gpus if gpu.vendor == "nvidia"]
    parts = [_container(placement)] + [f"--device=nvidia.com/gpu={name}" for name in _names(topology, nvidia)]
    notes = (_HARD, "the device names are those of the CDI file that `nvidia-ctk cdi generate` writes")
    return Shown(" ".join(parts + _device_files(gpus)), notes if nvidia else (_HARD,))


def _systemd(topology: Topology, placement: Placement, gpus: Sequence[Gpu]) -> Shown:
    lines = ["[Service]", f"CPUAffinity={_cpus(placement)}"]
    notes: tuple[str, ...] = ()
    if placement.policy == "preferred-many" and len(placement.memory_nodes) == 1:
        lines += ["NUMAPolicy=preferred", f"NUMAMask={_nodes(placement)}"]
        notes = (
            "systemd has no preferred-many: with preferred, a node full of page cache sends memory elsewhere",
        )
    elif placement.policy == "preferred-many":
        # systemd.exec(5) knows no preferred-many; on the node of the running CPU is the nearest to it.
        lines.append("NUMAPolicy=local")
        notes = ("systemd has no policy that prefers several nodes; local takes that of the running CPU",)
    elif placement.policy == "local":
        lines.append("NUMAPolicy=local")
    elif placement.policy != "default":
        lines += [f"NUMAPolicy={placement.policy}", f"NUMAMask={_nodes(placement)}"]
    return Shown("\n".join(lines), notes)


def _env(decision: Decision) -> Shown:
    """The variables that the plugin and `run` set, without those that are only taken away."""
    pairs = ((name, value) for name, value in decision.variables.items() if value is not None)
    lines = (f"export {name}={shlex.quote(value)}" for name, value in pairs)
    return Shown("\n".join(lines), ("variables bind nothing: `numa-align run` does",))


# -- Kubernetes ------------------------------------------------------------------------------


def reserved_cpus(topology: Topology) -> tuple[int, ...]:
    """For the system: the first core of each node with CPUs, all its hardware threads."""
    first: dict[Optional[int], tuple[int, ...]] = {}
    for core in topology.cores:
        first.setdefault(core.node, core.cpus)
    return tuple(sorted(cpu for cpus in first.values() for cpu in cpus))


def _kubernetes(topology: Topology, gpus: Sequence[Gpu]) -> Shown:
    reserved = reserved_cpus(topology)
    nodes = {gpu.node for gpu in gpus}
    if None in nodes:
        lost = next(gpu.bdf for gpu in gpus if gpu.node is None)
        raise RequestError(
            f"the NUMA node of GPU {lost} is unknown, so no Pod can be made to fit it; name the node "
            "in the override file (numa-align topo shows what is known)"
        )
    policy = "single-numa-node" if len(nodes) == 1 else "restricted"
    width = max((len(core.cpus) for core in topology.cores), default=1)
    cpus, memory = _pod_share(topology, gpus, reserved, width)
    lines = [
        "# /var/lib/kubelet/config.yaml (KubeletConfiguration); drain the node and remove",
        "# /var/lib/kubelet/cpu_manager_state before the kubelet starts with it.",
        "cpuManagerPolicy: static",
        *(["cpuManagerPolicyOptions:", '  full-pcpus-only: "true"'] if width > 1 else []),
        f'reservedSystemCPUs: "{format_cpulist(reserved)}"',
        f"topologyManagerPolicy: {policy}",
        "topologyManagerScope: pod",
        "---",
        "# Resources of the Pod's container. Requests and limits are equal and cpu is whole, else",
        "# the static policy leaves it in the shared pool.",
        "resources:",
    ]
    for kind in ("requests", "limits"):
        lines += [f"  {kind}:", f'    cpu: "{cpus or width}"', f"    memory: {memory}Mi"]
        lines += [f'    {name}: "{count}"' for name, count in _resources(gpus).items()]
    notes = ["the topology manager chooses the GPUs itself: a Pod asks for a number, not for these"]
    if not cpus:
        notes.append("there are fewer cores for Pods than GPUs: not every GPU can have a Pod of its own")
    if len(nodes) > 1:
        notes.append("these GPUs are on several nodes; single-numa-node would refuse such a Pod")
    if len([node for node in topology.nodes if node.kind != "gpu-memory"]) > 8:
        notes.append("more than 8 NUMA nodes need topologyManagerPolicyOptions max-allowable-numa-nodes")
    return Shown("\n".join(lines), tuple(notes))


def _resources(gpus: Sequence[Gpu]) -> dict[str, int]:
    names = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "gpu.intel.com/i915"}
    counts: dict[str, int] = {}
    for gpu in gpus:
        counts[names[gpu.vendor]] = counts.get(names[gpu.vendor], 0) + 1
    return counts


def _pod_share(
    topology: Topology, gpus: Sequence[Gpu], reserved: Sequence[int], width: int
) -> tuple[int, int]:
    """CPUs, in whole cores of ``width`` threads, and MiB of a Pod, such that Pods for all GPUs fit.

    No CPUs where fewer cores than GPUs are left.
    """
    machine = Machine.of(topology)
    left = tuple(cpu for cpu in topology.online if cpu not in set(reserved))
    order = {gpu.bdf: position for position, gpu in enumerate(topology.gpus)}
    slices = machine.claim(left, [gpu.node for gpu in topology.gpus])
    fewest = {
        node: min(len(slices[order[gpu.bdf]]) for gpu in topology.gpus if gpu.node == node)
        for node in {gpu.node for gpu in topology.gpus}
    }
    cpus = sum(fewest[gpu.node] for gpu in gpus) // width * width
    size = {node.id: node.memory_bytes for node in topology.nodes}
    memory = 0
    for gpu in gpus:
        sharers = sum(other.memory_nodes == gpu.memory_nodes for other in topology.gpus)
        # A tenth stays for the system and the page cache.
        memory += sum(size[node] for node in gpu.memory_nodes) * 9 // 10 // max(sharers, 1)
    return cpus, memory >> 20
