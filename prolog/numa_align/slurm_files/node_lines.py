"""The nodes that slurm.conf declares, with the settings of NodeName=DEFAULT lines.

Source: slurm.conf(5), NODE CONFIGURATION; s_p_hashtbl_merge in src/common/parse_config.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Optional

from .conffile import Line
from .hostlist import in_hostlist


class NodeLine(NamedTuple):
    """A line that declares nodes; ``settings`` are all its keys except NodeName=, with those of DEFAULT."""

    line: Line
    settings: dict[str, str]

    @property
    def names(self) -> str:
        """NodeName=, a list in Slurm's notation."""
        return self.line.value

    @property
    def place(self) -> str:
        """``FILE:LINE``."""
        return self.line.place


def node_lines(lines: Iterable[Line]) -> Iterator[NodeLine]:
    """The lines that declare nodes, in order.

    DEFAULT lines add up, a later value wins, they apply to later lines, and a line's own values win.
    """
    defaults: dict[str, str] = {}
    for line in lines:
        if line.key == "nodename" and line.value.lower() == "default":
            defaults.update(line.pairs[1:])
        elif line.key == "nodename":
            yield NodeLine(line, {**defaults, **dict(line.pairs[1:])})


def node_line(lines: Iterable[Line], name: str) -> Optional[NodeLine]:
    """The line that declares a node, by its name or its NodeHostname=; None if there is none."""
    declared = tuple(node_lines(lines))
    by_name = (one for one in declared if in_hostlist(name, one.names))
    by_host = (one for one in declared if in_hostlist(name, one.settings.get("nodehostname", "")))
    return next(by_name, None) or next(by_host, None)
