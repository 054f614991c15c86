"""Slurm's own number of each GPU on this node, from gres.conf; None wherever that would be a guess.

The index is the position in the node's gres bitmap, by which SLURM_JOB_GPUS and SLURM_STEP_GPUS
name GPUs. It is neither the minor nor the PCI order:

* without AutoDetect, the order of the files of the records, first those that begin with ``Name=``,
  then those that begin with ``NodeName=``;
* ``AutoDetect=nvml``: the order of NVML, which is that of the PCI addresses;
* ``AutoDetect=nvidia``: the order of the device files, which is that of the minors.

It is unknown, for one GPU or for all, if the file does not determine it: several types (their order
is that of slurm.conf), records without a file, other kinds of AutoDetect, MIG instances under
NVML (each has an index of its own), an unknown node name. Source: gres.conf(5).
"""

from __future__ import annotations

import os

from ..errors import ConfError
from ..light_typing import TYPE_CHECKING, NamedTuple
from ..sysfs import Tree
from .conffile import read_conf
from .gres_lines import CARD, GresLine, detection, faults, gpu_lines
from .which_conf import GIVEN, PACKAGED, slurm_conf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Optional, Protocol

    from ..sysfs import AnyPath

    class Detected(Protocol):
        """What is needed of a GPU; a sequence of them ascends by PCI address."""

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
    """``values[i]`` is the index of the i-th GPU; ``remarks`` say why all are None."""

    values: tuple[Optional[int], ...]
    remarks: tuple[str, ...] = ()


class _UnknownError(Exception):
    """The file does not determine the indexes; the text says why."""


def find_gres_conf(tree: Tree, named: Optional[str] = None) -> Optional[str]:
    """The gres.conf that Slurm reads on this machine, None if there is none.

    It is beside slurm.conf (slurm.conf(5)), the one that `which_conf` finds; ``named`` is the value of
    SLURM_CONF. A gres.conf elsewhere belongs to another cluster or is outdated; it is used only on a machine
    that has no slurm.conf at all.
    """
    conf = slurm_conf(tree, named)
    if conf is not None:
        beside = f"{conf.rpartition('/')[0] or '.'}/gres.conf"
        return beside if os.path.isfile(beside) else None  # noqa: PTH113 (the prolog does without pathlib)
    found = (f"{folder}/gres.conf" for folder in (GIVEN, *PACKAGED))
    return next((tree.path(path) for path in found if tree.exists(path)), None)


def slurm_indexes(
    tree: Tree,
    path: Optional[AnyPath],
    node_name: Optional[str],
    gpus: Sequence[Detected],
    divided: bool,
) -> Indexes:
    """The indexes of ``gpus`` according to the file at ``path``; without a file (None) all are unknown.

    ``divided`` says that some GPU has MIG instances. Never raises.
    """
    if not gpus:
        return Indexes(())
    if path is None:
        return Indexes((None,) * len(gpus))
    try:
        # Paths never show the root; an absolute one is below it.
        file = read_conf(path, "gres.conf", tree.path(""))
        lines = gpu_lines(file, node_name)
        if any(file.startswith(CARD) for line in lines for file in line.files):
            from .render_nodes import render_nodes, with_render_nodes  # noqa: PLC0415 (hardly ever needed)

            lines = with_render_nodes(lines, render_nodes(tree, gpus))
        refused = next((fault for fault in faults(file) if fault.fatal and fault.since is None), None)
        if refused is not None:
            raise _UnknownError(f"{refused.place}: {refused.key}=: {refused.what}")
        return Indexes(tuple(_order(lines, gpus, divided)))
    except ConfError as error:
        reason = str(error)
    except _UnknownError as error:
        reason = f"{file.path}: {error}"
    return Indexes((None,) * len(gpus), (f"Slurm's index of the GPUs is not known: {reason}",))


def _order(lines: Sequence[GresLine], gpus: Sequence[Detected], divided: bool) -> Iterator[Optional[int]]:
    records = [line for line in lines if line.named]
    if len({(line.type or "").lower() for line in records}) > 1:
        raise _UnknownError("it names several types of GPU, whose order is that of slurm.conf")
    detector = detection(lines)
    order = _listed(records) if detector == "off" else _detected(detector, records, gpus, divided)
    for gpu in gpus:
        positions = [position for position, files in enumerate(order) if gpu.device in files]
        yield positions[0] if len(positions) == 1 else None


def _listed(records: Sequence[GresLine]) -> list[tuple[str, ...]]:
    """The devices in the order of the records."""
    if not records:
        raise _UnknownError("it has no GPU for this node")
    if not all(record.devices for record in records):
        raise _UnknownError("it has a record of GPUs without File=")
    links = [position for record in records if (position := _own_place(record)) is not None]
    if links and links != list(range(len(records))):
        raise _UnknownError("it orders the GPUs both by its lines and by Links=")
    return [files for record in records for files in record.devices]


def _own_place(record: GresLine) -> Optional[int]:
    """The position of -1 in Links=, which stands for the GPU itself."""
    links = (record.links or "").split(",")
    return links.index("-1") if "-1" in links else None


def _detected(
    detector: str, records: Sequence[GresLine], gpus: Sequence[Detected], divided: bool
) -> list[tuple[str, ...]]:
    """The devices in the order in which Slurm detects them."""
    if detector not in ("nvml", "nvidia", "full"):
        raise _UnknownError(f"the order of AutoDetect={detector} is not known")
    nvidia = [gpu for gpu in gpus if gpu.vendor == "nvidia"]
    if any(gpu.minor is None for gpu in nvidia):
        raise _UnknownError("the minor of a GPU is not known")
    if len({gpu.model for gpu in nvidia}) > 1:
        raise _UnknownError("there are several models of GPU, whose order is that of slurm.conf")
    if divided and detector != "nvidia":
        raise _UnknownError("under AutoDetect each MIG instance has an index of its own")
    by_address = list(nvidia)
    by_minor = sorted(nvidia, key=lambda gpu: gpu.minor or 0)
    if detector == "full" and by_address != by_minor:
        raise _UnknownError("AutoDetect=full may order the GPUs by address or by minor")
    detected = by_minor if detector == "nvidia" else by_address
    order: list[tuple[str, ...]] = [(gpu.device or "",) for gpu in detected]
    listed = [files for record in records for files in record.devices]
    if listed and sorted(listed) != sorted(order):
        raise _UnknownError("its files are not the GPUs that AutoDetect finds")
    return order
