"""Input and output of the checks: frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Optional

from numa_align.slurm_files.gres_lines import Fault, GresLine
from numa_align.topology.model import Topology

from ..layout import PARAMETERS, Layout, layout_of
from ..model import Declared
from ..version import KNOWN, Version
from .other_gres import OtherGres
from .peers import Peers
from .repeated import Repeated
from .scratch import Scratch

#: From harmless to harmful.
STATUSES = ("ok", "warn", "fail")


@dataclass(frozen=True)
class Finding:
    """One line of doctor's output.

    ``check`` names it in documentation (docs/administrators.md) and for scripts. If it is not ok, ``cost``
    is the consequence and ``change`` the line to change, or the command to run; if it is ok, ``cost`` may be
    the price of a choice that is the site's.
    """

    check: str
    status: str
    what: str
    cost: str = ""
    change: str = ""


@dataclass(frozen=True)
class Plugin:
    """A line of plugstack.conf about numa-align; ``built_for`` is None if the file cannot be read.

    ``words`` come after the path.
    """

    place: str
    requirement: str
    path: str
    exists: bool
    built_for: Optional[tuple[int, int]] = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Script:
    """A prolog or epilog that slurm.conf names; ``ours``: this project's, or one that calls it."""

    path: str
    exists: bool
    executable: bool
    ours: bool = False


@dataclass(frozen=True)
class Facts:
    """Everything that is known of a node.

    ``settings`` and ``cgroup`` have keys in lower case; ``places`` has the place of each setting. ``layout``
    is the machine with the sockets that Slurm counts, ``declared`` what Slurm was told of it. ``kernel`` has
    the texts of files below /proc/sys and /sys by short names. ``persistence`` is None if unknown.
    ``prolog_seconds``: how long describing this node takes, None if not measured. ``stale_tables``: jobs
    whose tables were left behind; ``other_tables``: those whose tables another version of numa-align wrote,
    which the plugin does not read. ``declared_gres`` is Gres= of this node, None if the node is not
    declared; ``missing_files``: device files of gres.conf that do not exist. ``sbin``: where prolog and
    epilog are installed. ``gres_faults``: lines of gres.conf that Slurm does not accept, whichever node they
    are about. ``node`` has the keys of the node's line. ``controller``: the host that has the originals of
    these files, None if they are not copies. ``patterns``: places in plugstack.conf that include by a
    pattern. ``gpu_plugins``: Slurm's own plugins for GPUs (gpu_nvml.so), None if their folder is unknown.
    ``divided``: a GPU has MIG instances. ``other_gres``: what lines for this node have
    besides GPUs. ``declared_again``: a second line of slurm.conf for this node.
    ``repeated``: keys that occur twice where Slurm takes one value; ``crowded``: places of lines in
    slurm.conf with more than one setting, each with the second key. ``peers`` is what sends traffic between
    GPUs and cards through the root complex; ``scratch`` are places for temporary files on NVMe disks.
    """

    name: str
    topology: Topology
    layout: Layout
    version: Optional[Version] = None
    slurm_conf: Optional[str] = None
    settings: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    declared: Optional[Declared] = None
    gres_conf: Optional[str] = None
    gres: tuple[GresLine, ...] = ()
    cgroup_conf: Optional[str] = None
    cgroup: Mapping[str, str] = field(default_factory=dict)
    plugins: tuple[Plugin, ...] = ()
    scripts: Mapping[str, tuple[Script, ...]] = field(default_factory=dict)
    kernel: Mapping[str, str] = field(default_factory=dict)
    persistence: Optional[bool] = None
    prolog_seconds: Optional[float] = None
    stale_tables: tuple[int, ...] = ()
    other_tables: tuple[int, ...] = ()
    declared_gres: Optional[str] = None
    missing_files: frozenset[str] = frozenset()
    sbin: str = "/usr/sbin"
    gres_faults: tuple[Fault, ...] = ()
    gpu_plugins: Optional[frozenset[str]] = None
    node: Mapping[str, str] = field(default_factory=dict)
    controller: Optional[str] = None
    patterns: tuple[str, ...] = ()
    divided: bool = False
    other_gres: tuple[OtherGres, ...] = ()
    declared_again: Optional[str] = None
    repeated: tuple[Repeated, ...] = ()
    crowded: tuple[tuple[str, str], ...] = ()
    peers: Peers = field(default_factory=Peers)
    scratch: tuple[Scratch, ...] = ()

    @property
    def has_gpus(self) -> bool:
        """Whether this node's GPUs matter: login nodes have none."""
        return bool(self.topology.gpus)

    @cached_property
    def aimed(self) -> Layout:
        """The machine with the sockets that the site intends, against which Cores= are judged.

        If slurm.conf declares the shape that the machine has with NUMA nodes or caches as sockets, but no
        parameter says so, then the parameter is missing and nothing else is wrong.
        """
        if self.layout.kind != "package" or self.declared is None:
            return self.layout
        told = (self.declared.sockets, self.declared.cores_per_socket, self.declared.threads)
        if self.layout.shape == told:
            return self.layout
        others = (layout_of(self.topology, kind) for kind in PARAMETERS if kind != "package")
        return next((one for one in others if one.flaw is None and one.shape == told), self.layout)

    @property
    def configless(self) -> bool:
        """Whether nodes get their files from slurmctld."""
        return self.controller is not None or "enable_configless" in self.words("slurmctldparameters")

    @property
    def checked_version(self) -> Version:
        """The version whose rules apply; the strictest known one if it is unknown."""
        return self.version or KNOWN[-1]

    def place(self, key: str) -> str:
        """The place of a setting, or where to put it."""
        return self.places.get(key, self.slurm_conf or "slurm.conf")

    def words(self, key: str) -> tuple[str, ...]:
        """The words of a setting that is a list, in lower case."""
        return tuple(word for word in self.settings.get(key, "").lower().split(",") if word)
