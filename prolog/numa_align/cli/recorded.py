"""``--root``: this machine or a recorded one, for the commands that look at either."""

from __future__ import annotations

import os
from typing import Optional

from ..errors import TopologyError
from ..topology.model import Topology
from ..topology.read import read_topology


def machine_at(
    root: str,
    *,
    override: Optional[str] = None,
    gres_conf: Optional[str] = None,
    node_name: Optional[str] = None,
) -> Topology:
    """The machine below ``root``, read as `read_topology` does with ``strict``.

    Raises TopologyError where there is none, OverrideError for a wrong override file.
    """
    if not os.path.isdir(root):  # noqa: PTH112 (a command that may run without pathlib should)
        raise TopologyError(f"{root}: is not a directory; --root is the one that stands for /")
    topology = read_topology(root, override=override, gres_conf=gres_conf, node_name=node_name, strict=True)
    if not topology.online:
        raise TopologyError(f"{root}: no CPU is described below it; is there a sys/devices/system/cpu?")
    return topology
