"""A binding in the syntax of other tools: the entry point for all of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

from ..placement.decide import Decision
from ..topology.gpu.pci import Way
from ..topology.model import Gpu, Topology
from . import containers, host, kubernetes, nccl_topo
from .shown import Binding, Shown

TOOLS = (
    "numactl",
    "taskset",
    "docker",
    "podman",
    "compose",
    "apptainer",
    "enroot",
    "cdi",
    "kubernetes",
    "kubernetes-dra",
    "systemd",
    "env",
    "nccl-topo",
)
#: Tools that need to know how devices are connected.
WANT_WAYS = ("nccl-topo",)


def show(
    tool: str,
    topology: Topology,
    decision: Decision,
    gpus: Sequence[Gpu],
    *,
    with_memory: bool = False,
    cores: Optional[int] = None,
    ways: Optional[Mapping[str, Way]] = None,
) -> Shown:
    """The binding of ``gpus`` in the syntax of ``tool``, one of `TOOLS`.

    ``with_memory``: also limit memory, to the GPUs' share of their nodes. ``cores``: how many were
    requested. ``ways``: routes of GPUs and cards, for `WANT_WAYS`.
    """
    limit = kubernetes.share_mib(topology, gpus) if with_memory else None
    binding = Binding(topology, decision, tuple(gpus), limit, cores, ways or {})
    writers = {
        "numactl": host.numactl,
        "taskset": host.taskset,
        "docker": containers.docker,
        "podman": containers.podman,
        "compose": containers.compose,
        "apptainer": containers.apptainer,
        "enroot": containers.enroot,
        "cdi": containers.cdi,
        "kubernetes": kubernetes.kubelet_and_pod,
        "kubernetes-dra": kubernetes.claim,
        "systemd": host.systemd,
        "env": host.env,
        "nccl-topo": nccl_topo.nccl_topo,
    }
    shown = writers[tool](binding)
    if limit is None or tool in _LIMITING:
        return shown
    return Shown(shown.text, (*shown.notes, f"{tool} has no option that limits memory"))


#: Tools that print a memory limit, if one is requested or always.
_LIMITING = ("docker", "podman", "compose", "apptainer", "kubernetes", "systemd")
