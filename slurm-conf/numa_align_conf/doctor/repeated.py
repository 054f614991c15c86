"""Keys that stand twice where Slurm takes one value, and lines with more than one setting.

Source: src/common/parse_config.c. _handle_common says in the log of every daemon and command that a key was
repeated, and takes the latest value; s_p_parse_file ends them over what is left of a line behind its value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from numa_align.slurm_files.conffile import Line

_NAMES = (
    *("ClusterName", "GresTypes", "JobAcctGatherType", "LaunchParameters", "MaxNodeCount", "PlugStackConfig"),
    *("PluginDir", "ProctrackType", "PrologEpilogTimeout", "PrologFlags", "PrologTimeout", "EpilogTimeout"),
    *("SelectType", "SelectTypeParameters", "SlurmctldParameters", "SlurmdParameters", "TaskPlugin"),
    *("TaskPluginParam", "TmpFS", "ConstrainCores", "ConstrainDevices", "ConstrainRAMSpace", "CgroupPlugin"),
    *("Boards", "CoresPerSocket", "CPUs", "CpuSpecList", "Gres", "NodeAddr", "NodeHostname", "Parameters"),
    *("RealMemory", "RestrictedCoresPerGPU", "Sockets", "SocketsPerBoard", "ThreadsPerCore"),
    *("AutoDetect", "Cores", "Count", "File", "Flags", "Links", "MultipleFiles", "Name", "Type"),
)

#: The keys that matter here, as they are written. Others may be lists of lines (PartitionName=), of which
#: each counts.
SINGLE: Mapping[str, str] = {name.lower(): name for name in _NAMES}


#: The keys of slurm.conf that begin a line of several pairs (slurm_conf_options in src/common/read_config.c).
_RECORDS = frozenset(("downnodes", "frontendname", "nodename", "nodeset", "partitionname", "slurmctldhost"))


class Repeated(NamedTuple):
    """A key with its earlier and its later place, FILE:LINE; of the earlier one ``value`` does not count."""

    key: str
    earlier: str
    later: str
    value: str


def repeated_settings(lines: Iterable[Line]) -> Iterator[Repeated]:
    """Of the lines that are one setting each."""
    seen: dict[str, Line] = {}
    for line in lines:
        earlier = seen.get(line.key)
        if earlier is not None and line.key in SINGLE and len(line.pairs) == 1:
            yield Repeated(SINGLE[line.key], earlier.place, line.place, earlier.value)
        seen[line.key] = line


def repeated_on_lines(lines: Iterable[Line]) -> Iterator[Repeated]:
    """Of each line that is about nodes or gres, and has many keys."""
    for line in lines:
        seen: dict[str, str] = {}
        for key, value in line.pairs:
            if key in seen and key in SINGLE:
                yield Repeated(SINGLE[key], line.place, line.place, seen[key])
            seen[key] = value


def crowded(lines: Iterable[Line]) -> Iterator[tuple[str, str]]:
    """The place of each line of slurm.conf that has more than its one setting, and the key in excess."""
    for line in lines:
        if line.key not in _RECORDS and len(line.pairs) > 1:
            key = line.pairs[1][0]
            yield line.place, SINGLE.get(key, key)
