"""Settings that make Kubernetes place Pods near their GPUs: the kubelet's, a Pod's, a claim's. Pure.

The settings are those of KubeletConfiguration (kubelet.config.k8s.io/v1beta1). Neither the kubelet nor a
driver accepts a list of CPUs from a Pod: these settings make them choose as this program would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ..cpulist import format_cpulist
from ..errors import RequestError
from ..placement.claim import ClaimMachine
from ..topology.gpu.vendors import VENDORS
from ..topology.model import Gpu, Node, Topology
from .shown import Binding, Shown

#: By default the kubelet only starts on machines with at most this many NUMA nodes.
_USUAL_NODES = 8
#: For each Pod that it admits, it goes through all sets of NUMA nodes; with more nodes this is noticeable.
_MANY_NODES = 16
#: The kubelet's own thresholds: naming one removes the other defaults, so all are named.
_EVICTION = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}
_EVICTION_MIB = 100


@dataclass(frozen=True)
class Share:
    """What one Pod gets, so that Pods for all GPUs fit: ``cpus`` are hardware threads, 0 if too few."""

    cpus: int
    memory_mib: int
    cores: int


def kubelet_and_pod(binding: Binding) -> Shown:
    """The kubelet's settings for this machine, and a Pod with as many GPUs as those of ``binding``."""
    topology, gpus = binding.topology, binding.gpus
    _refuse_unknown(gpus)
    share, width = _share(binding), _width(topology)
    lines = [*_kubelet(topology, gpus, width), "---", *_pod(topology, gpus, share, width)]
    return Shown("\n".join(lines), tuple(_notes(topology, gpus, share)))


def claim(binding: Binding) -> Shown:
    """A claim for the drivers of Dynamic Resource Allocation: GPUs and CPUs of one NUMA node."""
    gpus = binding.gpus
    _refuse_unknown(gpus)
    share = _share(binding)
    classes = {"nvidia": "gpu.nvidia.com", "amd": "gpu.amd.com", "intel": "gpu.intel.com"}
    counts: dict[str, int] = {}
    for gpu in gpus:
        counts[gpu.vendor] = counts.get(gpu.vendor, 0) + 1
    lines = ["apiVersion: resource.k8s.io/v1", "kind: ResourceClaimTemplate", "metadata:"]
    lines += ["  name: near-gpus", "spec:", "  spec:", "    devices:", "      requests:"]
    for vendor, count in counts.items():
        lines += [f"        - name: {vendor}", "          exactly:"]
        lines += [f"            deviceClassName: {classes[vendor]}", f"            count: {count}"]
    lines += ["        - name: cpus", "          exactly:", "            deviceClassName: dra.cpu"]
    lines += ["            capacity:", "              requests:"]
    lines += [f'                dra.cpu/cpu: "{share.cpus or 1}"']
    notes = [
        "the Topology Manager does not see devices of DRA, so it aligns nothing to GPUs from a claim: "
        "the CPUs are claimed too (driver dra.cpu, with cpuManagerPolicy: none in the kubelet)",
        "no driver claims memory: it comes from the node of the CPU that touches it first",
        _VERIFY,
    ]
    if len({gpu.node for gpu in gpus}) == 1:
        names = ", ".join([*counts, "cpus"])
        lines += ["      constraints:", "        - matchAttribute: resource.kubernetes.io/numaNode"]
        lines += [f"          requests: [{names}]"]
        notes.insert(
            0,
            "both drivers have to publish resource.kubernetes.io/numaNode, else no device matches; "
            "`kubectl get resourceslices -o yaml` shows what they publish",
        )
    else:
        notes.insert(0, "these GPUs are on several NUMA nodes, which no constraint of a claim expresses")
    return Shown("\n".join(lines), tuple(notes))


_VERIFY = "to verify it: kubectl exec near-gpus -- numa-align check"


def reserved_cpus(topology: Topology) -> tuple[int, ...]:
    """CPUs for the system: the first core of each node with CPUs, all its hardware threads."""
    first: dict[Optional[int], tuple[int, ...]] = {}
    for core in topology.cores:
        first.setdefault(core.node, core.cpus)
    return tuple(sorted(cpu for cpus in first.values() for cpu in cpus))


def reserved_mib(node: Node) -> int:
    """A node's memory that Pods do not get: a tenth for the system, all of it if it is a GPU's."""
    whole = node.memory_bytes >> 20
    return whole if node.kind == "gpu-memory" else whole // 10


def share_of_pod(topology: Topology, gpus: Sequence[Gpu]) -> Share:
    """CPUs, in whole cores, and memory of a Pod with ``gpus``, so that Pods for all GPUs fit."""
    width = _width(topology)
    machine = ClaimMachine.of(topology)
    reserved = set(reserved_cpus(topology))
    left = tuple(cpu for cpu in topology.online if cpu not in reserved)
    shares = machine.claim(left, [gpu.node for gpu in topology.gpus])
    slices = {gpu.bdf: share for gpu, share in zip(topology.gpus, shares)}
    fewest = {
        node: min(len(slices[gpu.bdf]) for gpu in topology.gpus if gpu.node == node)
        for node in {gpu.node for gpu in topology.gpus}
    }
    cpus = sum(fewest[gpu.node] for gpu in gpus) // width * width
    return Share(cpus, share_mib(topology, gpus), cpus // width)


def _share(binding: Binding) -> Share:
    """The Pod's share, with as many cores as were requested."""
    share = share_of_pod(binding.topology, binding.gpus)
    if binding.cores is None:
        return share
    if binding.cores > share.cores:
        raise RequestError(
            f"{binding.cores} cores are more than the {share.cores} that a Pod for each such GPU leaves"
        )
    return replace(share, cpus=binding.cores * _width(binding.topology), cores=binding.cores)


def share_mib(topology: Topology, gpus: Sequence[Gpu]) -> int:
    """Memory for the user of ``gpus``, such that each other GPU of their nodes can have as much."""
    left = {node.id: (node.memory_bytes >> 20) - reserved_mib(node) for node in topology.nodes}
    memory = 0
    for gpu in gpus:
        sharers = sum(other.memory_nodes == gpu.memory_nodes for other in topology.gpus)
        memory += sum(left[node] for node in gpu.memory_nodes) // max(sharers, 1)
    return memory


def _refuse_unknown(gpus: Sequence[Gpu]) -> None:
    lost = next((gpu.bdf for gpu in gpus if gpu.node is None), None)
    if lost is not None:
        raise RequestError(
            f"the NUMA node of GPU {lost} is unknown, so no Pod can be made to fit it; name the node "
            "in the override file (numa-align topo shows what is known)"
        )


def _width(topology: Topology) -> int:
    """Hardware threads per core."""
    return max((len(core.cpus) for core in topology.cores), default=1)


# -- The kubelet -------------------------------------------------------------------------------


def _policy(topology: Topology, gpus: Sequence[Gpu]) -> str:
    with_cpus = {node.id for node in topology.nodes if node.cpus}
    nodes = {gpu.node for gpu in gpus}
    if not nodes <= with_cpus:
        # No set of nodes holds these GPUs and CPUs: any stricter policy would refuse all of their Pods.
        return "best-effort"
    return "single-numa-node" if len(nodes) == 1 else "restricted"


def _kubelet(topology: Topology, gpus: Sequence[Gpu], width: int) -> list[str]:
    lines = [
        "# The kubelet's file, mostly /var/lib/kubelet/config.yaml. Drain the node, stop the kubelet and",
        "# remove cpu_manager_state and memory_manager_state below /var/lib/kubelet before it starts.",
        "apiVersion: kubelet.config.k8s.io/v1beta1",
        "kind: KubeletConfiguration",
        "cpuManagerPolicy: static",
        *(["cpuManagerPolicyOptions:", '  full-pcpus-only: "true"'] if width > 1 else []),
        f'reservedSystemCPUs: "{format_cpulist(reserved_cpus(topology))}"',
        f"topologyManagerPolicy: {_policy(topology, gpus)}",
        "topologyManagerScope: pod",
        *_options(topology),
        *_memory(topology),
    ]
    return lines


def _options(topology: Topology) -> list[str]:
    options = {}
    if len(topology.nodes) > 2:
        options["prefer-closest-numa-nodes"] = "true"
    if len(topology.nodes) > _USUAL_NODES:
        # The kubelet counts all directories of nodes, including those of GPU memory and empty ones.
        options["max-allowable-numa-nodes"] = str(len(topology.nodes))
    lines = [f'  {name}: "{value}"' for name, value in options.items()]
    return ["topologyManagerPolicyOptions:", *lines] if options else []


def _memory(topology: Topology) -> list[str]:
    """Reserved by node; the kubelet only starts if it equals the sum of what is reserved by purpose."""
    by_node = {node.id: reserved_mib(node) for node in topology.nodes if reserved_mib(node)}
    rest = sum(by_node.values()) - _EVICTION_MIB
    if rest < 2:
        return []
    kube = rest // 4
    lines = ["memoryManagerPolicy: Static", "kubeReserved:", f"  memory: {kube}Mi"]
    lines += ["systemReserved:", f"  memory: {rest - kube}Mi", "evictionHard:"]
    lines += [f'  {name}: "{value}"' for name, value in _EVICTION.items()]
    lines += ["reservedMemory:"]
    for node, mib in by_node.items():
        lines += [f"  - numaNode: {node}", f"    limits: {{memory: {mib}Mi}}"]
    return lines


# -- The Pod -----------------------------------------------------------------------------------


def _pod(topology: Topology, gpus: Sequence[Gpu], share: Share, width: int) -> list[str]:
    label = f"{len(topology.gpus)}-gpus-on-{len({gpu.node for gpu in topology.gpus})}-nodes"
    # Requests equal limits, and CPUs are whole: else the static policies leave a Pod in the shared pool.
    resources = [f'cpu: "{share.cpus or width}"', f"memory: {share.memory_mib}Mi"]
    resources += [f'{name}: "{count}"' for name, count in _resources(gpus).items()]
    return [
        "# Machines of this shape: kubectl label node NODE numa-align=" + label,
        "apiVersion: v1",
        "kind: Pod",
        "metadata:",
        "  name: near-gpus",
        "spec:",
        "  nodeSelector:",
        f"    numa-align: {label}",
        "  containers:",
        "    - name: main",
        "      image: IMAGE",
        "      env:",
        "        - name: OMP_NUM_THREADS",
        f'          value: "{max(share.cores // len(gpus), 1)}"',
        "      resources:",
        *(f"        {line}" for line in ("requests:", *_indented(resources))),
        *(f"        {line}" for line in ("limits:", *_indented(resources))),
        "      volumeMounts:",
        "        - {name: shm, mountPath: /dev/shm}",
        "  volumes:",
        "    # Workers of a data loader pass batches through it; it counts as memory of the Pod.",
        "    - name: shm",
        f"      emptyDir: {{medium: Memory, sizeLimit: {share.memory_mib // 4}Mi}}",
    ]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _resources(gpus: Sequence[Gpu]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for gpu in gpus:
        name = VENDORS[gpu.vendor].resource
        counts[name] = counts.get(name, 0) + 1
    return counts


def _notes(topology: Topology, gpus: Sequence[Gpu], share: Share) -> list[str]:
    notes = ["the topology manager chooses the GPUs itself: a Pod asks for a number, not for these"]
    if not share.cpus:
        notes.append("there are fewer cores for Pods than GPUs: not every GPU can have a Pod of its own")
    policy = _policy(topology, gpus)
    if policy == "restricted":
        notes.append("these GPUs are on several nodes; single-numa-node would refuse such a Pod")
    if policy == "best-effort":
        notes.append("the GPUs' nodes have no CPUs: no stricter policy admits a Pod with these GPUs")
    count = len(topology.nodes)
    if count > _USUAL_NODES:
        notes.append(
            f"the kubelet counts {count} NUMA nodes, those without CPUs too, and starts on more than "
            f"{_USUAL_NODES} only with max-allowable-numa-nodes (Kubernetes 1.31)"
        )
    if count > _MANY_NODES:
        notes.append(
            f"for each Pod the kubelet goes through all sets of these nodes, 2 to the power of {count}: "
            "admission may be slow beyond use. A driver can keep the memory of GPUs out of the nodes "
            "(NVIDIA: NVreg_CoherentGPUMemoryMode=driver); else leave topologyManagerPolicy at none"
        )
    if any(node.kind == "gpu-memory" and node.memory_bytes for node in topology.nodes):
        notes.append("the memory of GPUs is reserved whole, so that no Pod's pages go there")
    return [*notes, _VERIFY]
