"""``--root`` and ``--node-name``, which choose this machine or a recorded one."""

from __future__ import annotations

import os
from typing import Any, Callable, Optional, TypeVar

import click

from ..topology.model import Attached, Topology
from ..topology.read import name_here, read_at, read_here

_Command = TypeVar("_Command", bound=Callable[..., Any])

root_option = click.option(
    "--root", default="/", metavar="DIR", help="Directory to take for / (a recorded machine)."
)
_NODE_NAME = click.option(
    "--node-name", metavar="NAME", help="Slurm's name of this node.  [default: SLURMD_NODENAME, host name]"
)


def machine_options(command: _Command) -> _Command:
    """The options ``root`` and ``node_name`` of a command, for `machine_at`."""
    return root_option(_NODE_NAME(command))


def is_live(root: str) -> bool:
    """Whether ``root`` means this machine, however it is written."""
    return os.path.abspath(root) == "/"  # noqa: PTH100 (a command that may run without pathlib should)


def node_name_at(root: str, said: Optional[str]) -> Optional[str]:
    """Slurm's name of the node: ``said``, else this machine's own; a recording does not contain its name."""
    return said or (name_here(os.environ) if is_live(root) else None)


def machine_at(
    root: str,
    *,
    override: Optional[str] = None,
    gres_conf: Optional[str] = None,
    node_name: Optional[str] = None,
) -> Topology:
    """The machine below ``root``; the running one is read as by `read_here`, with ``strict``.

    Raises TopologyError if there is none, OverrideError for a wrong override file.
    """
    if is_live(root):
        return read_here(override=override, gres_conf=gres_conf, node_name=node_name, strict=True)
    return read_at(root, override=override, gres_conf=gres_conf, node_name=node_name, strict=True)


def surroundings_at(root: str, topology: Topology) -> tuple[Attached, dict[int, int]]:
    """What drawings show in addition: network cards, disks, and the sizes of caches."""
    from ..sysfs import Tree  # noqa: PLC0415
    from ..topology.caches import read_cache_sizes  # noqa: PLC0415

    return attached_at(root, topology), read_cache_sizes(Tree(root), topology)


def attached_at(root: str, topology: Topology) -> Attached:
    """The network cards and disks of the machine that `machine_at` read below ``root``."""
    from ..sysfs import Tree  # noqa: PLC0415 (for the commands that show them)
    from ..topology.nic import read_nics  # noqa: PLC0415
    from ..topology.nvme import read_disks  # noqa: PLC0415

    tree = Tree(root)
    return Attached(read_nics(tree, topology), read_disks(tree, topology))
