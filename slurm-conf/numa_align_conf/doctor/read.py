"""Reads the facts of the node on which this runs, or of one below a root."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional

import numa_align
from numa_align.placement.table import FIRST_WORD, STALE_SECONDS
from numa_align.placement.table import VERSION as TABLE_VERSION
from numa_align.process.jobs import jobs_with_steps
from numa_align.slurm_files.conffile import ConfFile, Line, read_conf, shown
from numa_align.slurm_files.gres_lines import GresLine, faults, gpu_lines
from numa_align.slurm_files.hostlist import in_hostlist
from numa_align.slurm_files.node_lines import NodeLine, node_line, node_lines
from numa_align.slurm_files.render_nodes import render_nodes, with_render_nodes
from numa_align.slurm_files.which_conf import is_copy
from numa_align.slurm_files.which_conf import slurm_conf as which_slurm_conf
from numa_align.sysfs import Tree, read_text
from numa_align.topology.gpu import nvml
from numa_align.topology.gpu.nvidia import mig_instances
from numa_align.topology.model import Topology
from numa_align.topology.nvme import read_disks
from numa_align.topology.read import name_here, read_at

from ..elf import built_for
from ..installed import slurm_conf as installed_slurm_conf
from ..layout import PARAMETERS, Layout, layout_of
from ..live import declared_node, from_pairs
from ..model import Declared
from ..plugstack import Stack, read_stack
from ..prefix import installed_prefix
from ..version import Version, installed_version
from .model import Facts, Plugin, Script
from .other_gres import other_gres
from .peers import read_peers
from .repeated import Repeated, crowded, repeated_on_lines, repeated_settings
from .scratch import Scratch, find_scratch

_KERNEL_FILES = {
    "numa_balancing": "proc/sys/kernel/numa_balancing",
    "zone_reclaim_mode": "proc/sys/vm/zone_reclaim_mode",
    "thp_enabled": "sys/kernel/mm/transparent_hugepage/enabled",
}


def read_facts(
    root: str = "/",
    *,
    name: Optional[str] = None,
    slurm_conf: Optional[Path] = None,
    version: Optional[Version] = None,
) -> Facts:
    """Everything that the checks need; raises ConfError for a file that is malformed.

    For a recorded machine, what only a running system knows stays unknown.
    """
    tree = Tree(root)
    node = name or name_here(os.environ)
    slurm = slurm_conf or _usual_place(tree)
    lines = () if slurm is None else read_conf(slurm, "slurm.conf", root).lines
    settings = {line.key: line.value for line in lines if line.key != "nodename"}
    places = {line.key: line.place for line in lines if line.key != "nodename"}
    own = node_line(lines, node)
    if own is not None:
        places["nodename"] = own.place
    gres_conf = None if slurm is None else slurm.with_name("gres.conf")
    topology = read_at(root, node_name=node, strict=True, gres_conf=_if_file(gres_conf))
    live = tree.is_live and slurm_conf is None
    gres_file = _gres_file(gres_conf, root)
    gres = () if gres_file is None else gpu_lines(gres_file, node)
    gres = with_render_nodes(gres, render_nodes(tree, topology.gpus))
    version = version or (installed_version() if tree.is_live else None)
    stack = _stack(slurm, settings, root)
    cgroup = _cgroup_lines(slurm, root)
    return Facts(
        name=node,
        topology=topology,
        layout=_layout(topology, settings, own),
        version=version,
        slurm_conf=None if slurm is None else shown(str(slurm), root),
        settings=settings,
        places=places,
        declared=_declared(node, own, live),
        gres_conf=None if gres_conf is None else shown(str(gres_conf), root),
        gres=gres,
        cgroup_conf=None if slurm is None else shown(str(slurm.with_name("cgroup.conf")), root),
        cgroup={line.key: line.value for line in cgroup},
        plugins=() if stack is None else tuple(_plugins(stack, root)),
        scripts={key: tuple(_scripts(lines, key, version, tree)) for key in ("prolog", "epilog")},
        kernel=_kernel(tree),
        persistence=_persistence(topology) if tree.is_live else None,
        prolog_seconds=prolog_seconds() if tree.is_live and topology.gpus else None,
        stale_tables=stale_tables(tree),
        other_tables=other_tables(tree),
        declared_gres=None if own is None else own.settings.get("gres", ""),
        missing_files=_missing(gres, topology, tree),
        sbin=f"{installed_prefix()}/sbin",
        gpu_plugins=_gpu_plugins(tree, settings),
        gres_faults=() if gres_file is None else tuple(faults(gres_file)),
        node={} if own is None else own.settings,
        other_gres=() if gres_file is None else other_gres(gres_file, node),
        declared_again=_again(lines, node),
        crowded=tuple(crowded(lines)),
        repeated=tuple(_repeated(lines, own, gres_file, cgroup)),
        divided=any(gpu.minor is not None and bool(mig_instances(tree, gpu.minor)) for gpu in topology.gpus),
        controller=_controller(slurm, lines, root),
        peers=read_peers(tree, topology),
        scratch=tuple(_scratch(tree, topology, _scratch_settings(settings, slurm, node, root))),
        patterns=() if stack is None else tuple(shown(place, root) for place in stack.patterns),
    )


def _scratch(tree: Tree, topology: Topology, places: Mapping[str, str]) -> Iterator[Scratch]:
    """The places for jobs' temporary files that are on NVMe disks; on a node without GPUs none matters."""
    disks = read_disks(tree, topology) if topology.gpus else ()
    found = (find_scratch(tree, disks, setting, path) for setting, path in places.items() if disks)
    return (place for place in found if place is not None)


def _scratch_settings(
    settings: Mapping[str, str], slurm: Optional[Path], node: str, root: str
) -> dict[str, str]:
    """Paths by the name of their setting; TmpFS has a default."""
    places = {"TmpFS": settings.get("tmpfs", "/tmp")}
    container = _if_file(None if slurm is None else slurm.with_name("job_container.conf"))
    for line in () if container is None else read_conf(container, "job_container.conf", root).lines:
        if line.key != "nodename" or in_hostlist(node, line.value):
            places.update(("BasePath", value) for key, value in line.pairs if key == "basepath")
    return places


def _usual_place(tree: Tree) -> Optional[Path]:
    if tree.is_live:
        return installed_slurm_conf()
    found = which_slurm_conf(tree)
    return None if found is None else Path(found)


def _if_file(path: Optional[Path]) -> Optional[Path]:
    return path if path is not None and path.is_file() else None


def _layout(topology: Topology, settings: Mapping[str, str], own: Optional[NodeLine]) -> Layout:
    words = settings.get("slurmdparameters", "") + "," + (own.settings.get("parameters", "") if own else "")
    for kind in ("l3", "numa"):  # if both are set, Slurm uses the caches
        if PARAMETERS[kind] in words.lower().split(","):
            return layout_of(topology, kind)
    return layout_of(topology, "package")


def _declared(name: str, own: Optional[NodeLine], live: bool) -> Optional[Declared]:
    found = declared_node(name) if live else None
    if found is None or own is None:
        return found or (None if own is None else from_pairs(own.settings, "slurm.conf"))
    told = from_pairs(own.settings, "slurm.conf")
    return found if found.spec_cpus or told is None else replace(found, spec_cpus=told.spec_cpus)


def _again(lines: Sequence[Line], name: str) -> Optional[str]:
    """The second line that declares a node, with which no daemon starts."""
    return next(
        (one.place for one in [one for one in node_lines(lines) if in_hostlist(name, one.names)][1:]), None
    )


def _gres_file(path: Optional[Path], root: str) -> Optional[ConfFile]:
    return read_conf(path, "gres.conf", root) if path is not None and path.is_file() else None


def _missing(lines: Sequence[GresLine], topology: Topology, tree: Tree) -> frozenset[str]:
    """Device files that gres.conf names and that do not exist; for a recording, those that no GPU has."""
    files = {file for line in lines for file in line.files}
    known = {gpu.device for gpu in topology.gpus}
    return frozenset(file for file in files - known if not (tree.is_live and tree.exists(file.lstrip("/"))))


#: Where Slurm's plugins are without PluginDir=: Debian's, RPM's, a Slurm below a prefix of its own.
_PLUGIN_FOLDERS = (
    *("usr/lib/x86_64-linux-gnu/slurm-wlm", "usr/lib/aarch64-linux-gnu/slurm-wlm"),
    *("usr/lib64/slurm", "usr/lib/slurm", "usr/local/lib/slurm"),
    *("opt/slurm/lib/slurm", "opt/slurm/lib64/slurm"),
)


def _gpu_plugins(tree: Tree, settings: Mapping[str, str]) -> Optional[frozenset[str]]:
    """Slurm's own plugins for GPUs; None if no folder has them."""
    named = settings.get("plugindir", "").split(":")
    folders = [folder.lstrip("/") for folder in named if folder] or list(_PLUGIN_FOLDERS)
    found = (frozenset(name for name in tree.names(one) if name.startswith("gpu_")) for one in folders)
    return next((names for names in found if names), None)


def _cgroup_lines(slurm: Optional[Path], root: str) -> tuple[Line, ...]:
    path = _if_file(None if slurm is None else slurm.with_name("cgroup.conf"))
    return () if path is None else read_conf(path, "cgroup.conf", root).lines


def _repeated(
    lines: Sequence[Line], own: Optional[NodeLine], gres: Optional[ConfFile], cgroup: Sequence[Line]
) -> Iterator[Repeated]:
    """In slurm.conf, on this node's line, on any line of gres.conf, and in cgroup.conf."""
    yield from repeated_settings(lines)
    yield from repeated_on_lines(() if own is None else (own.line,))
    yield from repeated_settings(() if gres is None else gres.lines)
    yield from repeated_on_lines(() if gres is None else gres.lines)
    yield from repeated_settings(cgroup)


def _stack(slurm: Optional[Path], settings: Mapping[str, str], root: str) -> Optional[Stack]:
    if slurm is None:
        return None
    named = settings.get("plugstackconfig")
    first = Path(root) / named.lstrip("/") if named else slurm.with_name("plugstack.conf")
    return read_stack(first, root) if first.exists() else None


def _plugins(stack: Stack, root: str) -> Iterator[Plugin]:
    for entry in (entry for entry in stack.entries if entry.is_ours):
        file = Path(root) / entry.words[1].lstrip("/")
        requirement, path, *words = entry.words
        place = shown(entry.place, root)
        yield Plugin(place, requirement, path, file.is_file(), built_for(file), tuple(words))


def _controller(slurm: Optional[Path], lines: Sequence[Line], root: str) -> Optional[str]:
    """The host that has the originals of a copy; the first one named usually is the active one."""
    if slurm is None or not is_copy(shown(str(slurm), root)):
        return None
    hosts = (line.value for line in lines if line.key in ("slurmctldhost", "controlmachine"))
    return next(hosts, "the host of slurmctld").partition("(")[0]


def _scripts(lines: Sequence[Line], key: str, version: Optional[Version], tree: Tree) -> Iterator[Script]:
    """The scripts that Slurm runs: those of all lines, or of the last."""
    paths = [line.value for line in lines if line.key == key]
    for path in paths if version is None or version.runs_several_scripts else paths[-1:]:
        file = Path(tree.path(path.lstrip("/")))
        names = sorted(file.parent.glob(file.name)) if re.search(r"[*?\[]", path) else [file]
        for name in names or [file]:
            said = shown(str(name), tree.path("")) if names != [file] else path
            ours = "numa-align" in name.name or f"numa-align-{key}" in (read_text(str(name)) or "")
            yield Script(said, name.is_file(), os.access(name, os.R_OK | os.X_OK), ours)


def _kernel(tree: Tree) -> dict[str, str]:
    texts = {key: tree.text(path) for key, path in _KERNEL_FILES.items()}
    return {key: text for key, text in texts.items() if text is not None}


def _persistence(topology: Topology) -> Optional[bool]:
    """Whether all NVIDIA GPUs are in persistence mode, by NVML; the daemon's socket counts as yes."""
    if not any(gpu.vendor == "nvidia" for gpu in topology.gpus):
        return None
    if Path("/run/nvidia-persistenced/socket").exists():
        return True
    return nvml.persistence()


def prolog_seconds() -> Optional[float]:
    """How long the prolog's work takes here, including Python's start; None if it fails."""
    place = str(Path(numa_align.__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as folder:
        code = (
            f"import sys; sys.path[:0] = [{place!r}]; from pathlib import Path; "
            "from numa_align.hooks.prolog import write_job_table; "
            f"write_job_table({{'SLURM_JOB_ID': '1'}}, directory=Path({folder!r}) / "
            "'tables')"
        )
        begin = time.monotonic()
        try:
            subprocess.run(
                [sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, timeout=60
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return time.monotonic() - begin


def stale_tables(tree: Tree) -> tuple[int, ...]:
    """Jobs whose tables are from before a reboot, or that have no visible process here any more."""
    boot = tree.text("proc/sys/kernel/random/boot_id")
    jobs = [job for job in tree.numbered("run/numa-align", "") if job > 0]
    if boot is None:
        return ()
    stale = []
    running = jobs_with_steps() if jobs and tree.is_live else frozenset()
    for job in jobs:
        match = re.search(r"^boot (\S+)$", tree.text(f"run/numa-align/{job}") or "", re.MULTILINE)
        other_boot = match is not None and match[1] not in (boot, "-")
        old = tree.is_live and _age(tree.path(f"run/numa-align/{job}")) > STALE_SECONDS
        if other_boot or (old and job not in running):
            stale.append(job)
    return tuple(stale)


def other_tables(tree: Tree) -> tuple[int, ...]:
    """Jobs whose tables another numa-align wrote, with another version of the format, before an upgrade."""
    ours = f"{FIRST_WORD} {TABLE_VERSION}"
    firsts = {
        job: (tree.text(f"run/numa-align/{job}") or "").partition("\n")[0]
        for job in tree.numbered("run/numa-align", "")
        if job > 0
    }
    return tuple(job for job, line in firsts.items() if line.startswith(f"{FIRST_WORD} ") and line != ours)


def _age(path: str) -> float:
    try:
        return time.time() - Path(path).stat().st_mtime
    except OSError:
        return 0.0
