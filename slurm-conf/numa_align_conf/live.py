"""A node as the running Slurm has it declared: through pyslurm where it fits, else scontrol.

pyslurm is built for one release of Slurm and refuses others, so that any failure of it is only a reason to
ask scontrol; this prints JSON since 21.08 if it was built with it, as Debian's 22.05 was not: then its text
is read.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Optional

from numa_align.cpulist import parse_cpulist

from .model import Declared

_LIMIT = 20


def declared_node(name: str) -> Optional[Declared]:
    """What the running Slurm says of a node; None if none runs, or it does not know the node."""
    return _by_pyslurm(name) or _by_json(name) or _by_text(name)


def _by_pyslurm(name: str) -> Optional[Declared]:
    try:
        node = import_module("pyslurm").Node.load(name)
        return Declared(
            int(node.sockets),
            int(node.cores_per_socket),
            int(node.threads_per_core),
            int(node.real_memory),
            source="pyslurm",
        )
    except Exception:  # not installed, built for another Slurm, no slurmctld, no such node
        return None


def scontrol(*arguments: str) -> Optional[str]:
    """What scontrol prints; None if it is not there, fails, or slurmctld does not answer in 20 s."""
    try:
        done = subprocess.run(
            ["scontrol", *arguments], capture_output=True, text=True, timeout=_LIMIT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _by_json(name: str) -> Optional[Declared]:
    return parse_json(scontrol("show", "node", name, "--json") or "", name)


def _by_text(name: str) -> Optional[Declared]:
    return parse_text(scontrol("-o", "show", "node", name) or "", name)


def parse_json(text: str, name: str) -> Optional[Declared]:
    """A node in the output of ``scontrol show node --json``; None if it is not there.

    Numbers are plain up to 23.02 and objects with ``number`` since.
    """
    try:
        nodes = json.loads(text)["nodes"]
        node = next(node for node in nodes if node.get("name") == name)
        return Declared(
            _plain(node["sockets"]),
            _plain(node["cores"]),
            _plain(node["threads"]),
            _plain(node.get("real_memory", 0)),
            parse_cpulist(str(node.get("specialized_cpus") or "")),
            "scontrol --json",
        )
    except (ValueError, KeyError, TypeError, StopIteration):
        return None


def _plain(value: Any) -> int:
    return int(value["number"] if isinstance(value, dict) else value)


def parse_text(text: str, name: str) -> Optional[Declared]:
    """A node in the output of ``scontrol -o show node``; None if it is not there."""
    for line in text.splitlines():
        pairs = dict(re.findall(r"(\w+)=(\S*)", line))
        if pairs.get("NodeName") == name:
            return from_pairs({key.lower(): value for key, value in pairs.items()}, "scontrol")
    return None


def from_pairs(pairs: Mapping[str, str], source: str) -> Optional[Declared]:
    """From the keys of a NodeName line, in lower case, with Slurm's defaults."""

    def number(key: str, default: int) -> int:
        return int(pairs[key]) if pairs.get(key, "").isdigit() else default

    cores, threads = number("corespersocket", 1), number("threadspercore", 1)
    cpus = number("cpus", number("cputot", 0))
    boards = number("boards", 1)
    sockets = number("sockets", boards * number("socketsperboard", 0)) or max(1, cpus // (cores * threads))
    try:
        reserved = parse_cpulist(pairs.get("cpuspeclist", ""))
    except ValueError:
        reserved = ()
    return Declared(sockets, cores, threads, number("realmemory", 0), reserved, source)
