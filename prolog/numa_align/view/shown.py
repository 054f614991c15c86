"""What `show` has and what it prints: a binding, and a text in the words of a tool. Pure."""

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
    """What is to be said in a tool's words.

    ``limit_mib`` is a limit of memory and ``cores`` the number that was asked for, None without one. ``ways``
    are those of GPUs and cards, by address, for the tools of `numa_align.view.export.WANT_WAYS`.
    """

    topology: Topology
    decision: Decision
    gpus: tuple[Gpu, ...]
    limit_mib: Optional[int] = None
    cores: Optional[int] = None
    ways: Mapping[str, Way] = field(default_factory=dict)

    @property
    def placement(self) -> Placement:
        """Where the GPUs' user belongs."""
        return self.decision.placement

    @property
    def cpus(self) -> str:
        """As the kernel writes lists of CPUs."""
        return format_cpulist(self.placement.cpus)

    @property
    def nodes(self) -> str:
        """The nodes of the policy, in the same way."""
        return format_cpulist(self.placement.memory_nodes)

    def runtime_variables(self) -> dict[str, str]:
        """Those by which CUDA, ROCm and Level Zero show these GPUs only; none where a driver is missing."""
        if not all(gpu.device for gpu in self.gpus):
            return {}
        return expose(self.topology.gpus, self.gpus, {}, lambda device: True)
