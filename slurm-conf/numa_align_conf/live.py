"""A node's declaration in the running Slurm: through pyslurm if it fits, else scontrol.

pyslurm is built for one release of Slurm. Its libslurm ends the calling process if slurm.conf is
missing or has an unknown key, and waits for a slurmctld that is down. So it is called in a separate process,
for five seconds: if that fails in any way, pyslurm is treated as missing. scontrol prints JSON since 21.08 if
it was built with it, which Debian's 22.05 was not: then its text is read.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Optional

from numa_align.cpulist import parse_cpulist

from .installed import command
from .model import Declared

#: Seconds per query: if there is no answer by then, no other way is tried.
_LIMIT = 5

# libslurm may print other lines before; the answer is the last line.
_ASK_PYSLURM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
import pyslurm
node = pyslurm.Node.load(sys.argv[2])
shape = (node.sockets, node.cores_per_socket, node.threads_per_core, node.real_memory)
print()
print(json.dumps([int(value) for value in shape]))
"""


class _NoAnswerError(Exception):
    """slurmctld did not answer in time."""


def declared_node(name: str) -> Optional[Declared]:
    """The running Slurm's declaration of a node; None if none runs, or it does not know the node."""
    try:
        found = _by_pyslurm(name)
        if found is None:
            return _by_json(name) or _by_text(name)
        # pyslurm reads CpuSpecList=0 as no CPU; scontrol reports it as it is.
        said = _by_text(name)
        return found if said is None else replace(found, spec_cpus=said.spec_cpus)
    except _NoAnswerError:
        return None


def _by_pyslurm(name: str) -> Optional[Declared]:
    try:
        if find_spec("pyslurm") is None:
            return None
    except (ImportError, ValueError):
        return None
    text = _output([sys.executable, "-c", _ASK_PYSLURM, json.dumps(sys.path), name])
    try:
        sockets, cores, threads, memory = map(int, json.loads((text or "").rstrip().rpartition("\n")[2]))
        return Declared(sockets, cores, threads, memory, source="pyslurm")
    except (ValueError, TypeError):
        return None


def _output(words: list[str]) -> Optional[str]:
    """What a program prints; None if it fails. Raises _NoAnswerError if it takes too long."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _NoAnswerError from None
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def _scontrol(*arguments: str) -> str:
    path = command("scontrol")
    return ("" if path is None else _output([path, *arguments])) or ""


def _by_json(name: str) -> Optional[Declared]:
    return parse_json(_scontrol("show", "node", name, "--json"), name)


def _by_text(name: str) -> Optional[Declared]:
    return parse_text(_scontrol("-o", "show", "node", name), name)


def parse_json(text: str, name: str) -> Optional[Declared]:
    """A node in the output of ``scontrol show node --json``; None if it is missing.

    Numbers are plain up to 23.02, and objects with ``number`` since.
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
    """A node in the output of ``scontrol -o show node``; None if it is missing."""
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
