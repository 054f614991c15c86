"""Slurm's own number of each GPU on this node, from gres.conf; None wherever that is a guess.

The index is the position in the node's gres bitmap, which SLURM_JOB_GPUS and SLURM_STEP_GPUS
speak in. It is neither the minor nor the PCI order:

* without AutoDetect, the order of the files of the records, first those that begin with ``Name=``,
  then those that begin with ``NodeName=``;
* ``AutoDetect=nvml``: the order of NVML, which is that of the PCI addresses;
* ``AutoDetect=nvidia``: the order of the device files, which is that of the minors.

It is not known, for one GPU or for all, where the file does not settle it: several types (their order
is that of slurm.conf), records without a file, other kinds of AutoDetect, MIG instances under
NVML (each has an index of its own), a node name that is not known. Source: gres.conf(5).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Optional, Protocol

from ..sysfs import Tree, read_text
from .hostlist import HostlistError, expand, in_hostlist

if TYPE_CHECKING:
    from ..sysfs import AnyPath

#: Where Slurm's files are looked for below the root, in this order: as packaged, then where slurmd
#: keeps what it got from slurmctld ("configless").
USUAL_FOLDERS = ("etc/slurm", "run/slurm/conf", "etc/slurm-llnl")

# A cluster's file may list thousands of nodes.
_SIZE_LIMIT = 4 << 20
_MAX_INCLUDES = 8


class Detected(Protocol):
    """What has to be known of a GPU; a sequence of them ascends by PCI address."""

    @property
    def vendor(self) -> str: ...  # noqa: D102
    @property
    def bdf(self) -> str: ...  # noqa: D102
    @property
    def minor(self) -> Optional[int]: ...  # noqa: D102
    @property
    def model(self) -> Optional[str]: ...  # noqa: D102
    @property
    def device(self) -> Optional[str]: ...  # noqa: D102


class Indexes(NamedTuple):
    """``values[i]`` is the index of the i-th GPU asked about; ``remarks`` say why all are None."""

    values: tuple[Optional[int], ...]
    remarks: tuple[str, ...] = ()


class Record(NamedTuple):
    """A line of gres.conf about GPUs that holds for this node.

    ``devices`` has the files of each device: one as a rule, several under MultipleFiles.
    """

    for_node: bool
    type: Optional[str]
    devices: tuple[tuple[str, ...], ...]
    link_position: Optional[int]


class GresConf(NamedTuple):
    """What gres.conf says about the GPUs of one node; ``autodetect`` is None where it is off."""

    records: tuple[Record, ...]
    autodetect: Optional[str]


class _UnknownError(Exception):
    """The file does not settle the indexes; the text says why."""


def find_gres_conf(tree: Tree, slurm_conf: Optional[str] = None) -> Optional[str]:
    """The gres.conf that Slurm reads on this machine, None if there is none.

    It lies beside slurm.conf (slurm.conf(5)): the one that ``slurm_conf``, the variable SLURM_CONF, names,
    else the first in a usual folder. A gres.conf elsewhere is that of another cluster or of another
    time; only a machine that shows no slurm.conf at all is taken at the word of the gres.conf that it has.
    """
    if slurm_conf and os.path.isfile(slurm_conf):  # noqa: PTH113 (the prolog does without pathlib)
        beside = f"{slurm_conf.rpartition('/')[0] or '.'}/gres.conf"
        return beside if os.path.isfile(beside) else None  # noqa: PTH113
    folders = [folder for folder in USUAL_FOLDERS if tree.exists(f"{folder}/slurm.conf")]
    for folder in folders[:1] or USUAL_FOLDERS:
        if tree.exists(f"{folder}/gres.conf"):
            return tree.path(f"{folder}/gres.conf")
    return None


def slurm_indexes(
    tree: Tree,
    path: Optional[AnyPath],
    node_name: Optional[str],
    gpus: Sequence[Detected],
    divided: bool,
) -> Indexes:
    """The indexes of ``gpus`` according to the file at ``path``; of None, no file, all are unknown.

    ``divided`` says that some GPU has MIG instances. Never raises.
    """
    if not gpus:
        return Indexes(())
    if path is None:
        return Indexes((None,) * len(gpus))
    try:
        conf = parse(list(_lines(tree, os.fspath(path), _MAX_INCLUDES)), node_name)
        return Indexes(tuple(_order(conf, gpus, divided)))
    except (_UnknownError, HostlistError) as reason:
        return Indexes((None,) * len(gpus), (f"Slurm's index of the GPUs is not known: {path}: {reason}",))


def parse(lines: Sequence[str], node_name: Optional[str]) -> GresConf:
    """What the logical lines of a gres.conf say about the GPUs of ``node_name``."""
    records: list[Record] = []
    site_autodetect: Optional[str] = None
    node_autodetect: Optional[str] = None
    for line in lines:
        settings = dict(_settings(line))
        names = settings.get("nodename")
        if names is not None:
            if "autodetect" not in settings and not _about_gpus(settings):
                continue
            if node_name is None:
                raise _UnknownError("it has lines for single nodes, and this node's name is not known")
            if not in_hostlist(node_name, names):
                continue
            node_autodetect = settings.get("autodetect", node_autodetect)
        else:
            site_autodetect = settings.get("autodetect", site_autodetect)
        if _about_gpus(settings):
            records.append(_record(settings))
    autodetect = (node_autodetect or site_autodetect or "off").lower()
    records.sort(key=lambda record: record.for_node)
    return GresConf(tuple(records), None if autodetect == "off" else autodetect)


def _about_gpus(settings: dict[str, str]) -> bool:
    return settings.get("name", "").lower() == "gpu"


def _record(settings: dict[str, str]) -> Record:
    devices: tuple[tuple[str, ...], ...] = ()
    file = settings.get("file", settings.get("files"))
    if file is not None:
        devices = tuple((one,) for one in expand(file))
    elif "multiplefiles" in settings:
        devices = (expand(settings["multiplefiles"]),)
    links = settings.get("links", settings.get("link", "")).split(",")
    return Record(
        "nodename" in settings,
        settings.get("type"),
        devices,
        links.index("-1") if "-1" in links else None,
    )


def _order(conf: GresConf, gpus: Sequence[Detected], divided: bool) -> Iterator[Optional[int]]:
    types = {record.type for record in conf.records}
    if len(types) > 1:
        raise _UnknownError("it names several types of GPU, whose order is that of slurm.conf")
    order = _detected(conf, gpus, divided) if conf.autodetect else _listed(conf)
    for gpu in gpus:
        positions = [position for position, files in enumerate(order) if gpu.device in files]
        yield positions[0] if len(positions) == 1 else None


def _listed(conf: GresConf) -> list[tuple[str, ...]]:
    """The devices as the records list them."""
    if not conf.records:
        raise _UnknownError("it has no GPU for this node")
    if not all(record.devices for record in conf.records):
        raise _UnknownError("it has a record of GPUs without File=")
    links = [record.link_position for record in conf.records if record.link_position is not None]
    if links and links != list(range(len(conf.records))):
        raise _UnknownError("it orders the GPUs both by its lines and by Links=")
    return [files for record in conf.records for files in record.devices]


def _detected(conf: GresConf, gpus: Sequence[Detected], divided: bool) -> list[tuple[str, ...]]:
    """The devices in the order in which Slurm detects them."""
    if conf.autodetect not in ("nvml", "nvidia", "full"):
        raise _UnknownError(f"the order of AutoDetect={conf.autodetect} is not known")
    nvidia = [gpu for gpu in gpus if gpu.vendor == "nvidia"]
    if any(gpu.minor is None for gpu in nvidia):
        raise _UnknownError("the minor of a GPU is not known")
    if len({gpu.model for gpu in nvidia}) > 1:
        raise _UnknownError("there are several models of GPU, whose order is that of slurm.conf")
    if divided and conf.autodetect != "nvidia":
        raise _UnknownError("under AutoDetect each MIG instance has an index of its own")
    by_address = list(nvidia)
    by_minor = sorted(nvidia, key=lambda gpu: gpu.minor or 0)
    if conf.autodetect == "full" and by_address != by_minor:
        raise _UnknownError("AutoDetect=full may order the GPUs by address or by minor")
    detected = by_minor if conf.autodetect == "nvidia" else by_address
    order: list[tuple[str, ...]] = [(gpu.device or "",) for gpu in detected]
    listed = [files for record in conf.records for files in record.devices]
    if listed and sorted(listed) != sorted(order):
        raise _UnknownError("its files are not the GPUs that AutoDetect finds")
    return order


def _lines(tree: Tree, path: str, includes: int) -> Iterator[str]:
    """Logical lines: comments removed, continued lines joined, included files in their place."""
    text = read_text(path, _SIZE_LIMIT)
    if text is None:
        raise _UnknownError("it cannot be read")
    pending = ""
    for physical in text.splitlines():
        line = pending + _without_comment(physical).rstrip()
        if line.endswith("\\"):
            pending = line[:-1] + " "
            continue
        pending = ""
        yield from _included(tree, path, line, includes)
    yield from _included(tree, path, pending, includes)


def _included(tree: Tree, path: str, line: str, includes: int) -> Iterator[str]:
    words = line.split()
    if not words:
        return
    if words[0].lower() != "include":
        yield line
        return
    if len(words) != 2 or includes == 0 or "%" in words[1]:
        raise _UnknownError(f"{line.strip()[:80]!r} cannot be followed")
    name = words[1]
    # On a recorded machine an absolute path means one below its root.
    beside = path.rpartition("/")[0]
    target = tree.path(name.lstrip("/")) if name.startswith("/") else f"{beside or '.'}/{name}"
    yield from _lines(tree, target, includes - 1)


def _without_comment(line: str) -> str:
    start = line.find("#")
    while start > 0 and line[start - 1] == "\\":
        start = line.find("#", start + 1)
    return line if start < 0 else line[:start]


def _settings(line: str) -> Iterator[tuple[str, str]]:
    """The ``Key=value`` pairs of a line, keys in lower case; a value may be quoted."""
    rest = line.strip()
    while rest:
        key, _, rest = rest.partition("=")
        rest = rest.lstrip()
        if rest.startswith('"'):
            value, _, rest = rest[1:].partition('"')
        else:
            value = rest.split(None, 1)[0] if rest else ""
            rest = rest[len(value) :]
        yield key.strip().lower(), value
        rest = rest.lstrip()
