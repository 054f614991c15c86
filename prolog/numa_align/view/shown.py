"""The input and output of `show`: a binding, and a text in the syntax of a tool. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from ..cpulist import format_cpulist
from ..placement.claim import Placement
from ..placement.decide import Decision
from ..placement.expose import expose
from ..topology.gpu.pci import Way
from ..topology.model import Gpu, Topology


@dataclass(frozen=True)
class Shown:
    """``text`` is for the tool (options, or a file's content); ``notes`` are sentences for the person."""

    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Binding:
    """What is to be written in a tool's syntax.

    ``limit_mib`` is a memory limit and ``cores`` the requested number, None without one. ``ways``
    are routes of GPUs and cards, by address, for the tools of `numa_align.view.export.WANT_WAYS`.
    """

    topology: Topology
    decision: Decision
    gpus: tuple[Gpu, ...]
    limit_mib: Optional[int] = None
    cores: Optional[int] = None
    ways: Mapping[str, Way] = field(default_factory=dict)

    @property
    def placement(self) -> Placement:
        """Where the process that uses the GPUs belongs."""
        return self.decision.placement

    @property
    def cpus(self) -> str:
        """The CPUs as a list in the kernel's format."""
        return format_cpulist(self.placement.cpus)

    @property
    def nodes(self) -> str:
        """The nodes of the policy, in the same format."""
        return format_cpulist(self.placement.memory_nodes)

    def runtime_variables(self) -> dict[str, str]:
        """Variables by which CUDA, ROCm and Level Zero show only these GPUs; none if a driver is missing."""
        if not all(gpu.device for gpu in self.gpus):
            return {}
        return expose(self.topology.gpus, self.gpus, {}, lambda device: True)
