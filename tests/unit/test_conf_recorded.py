"""gres.conf and slurm.conf of every recorded machine with GPUs are accepted by Slurm, or say why not.

The rules are repeated here, for the printed text: what slurmctld checks (_check_core_range_matches_sock),
and that both files count the same GPUs. Which CPUs a core number means is asked of hwloc, whose order slurmd
uses.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from builder.kinds import machines_with_gpus
from builder.recorded import at_least
from native import Native, why_not
from native.native import WITHOUT_CGROUPS
from numa_align.cpulist import parse_cpulist
from numa_align_conf.facts import Kind
from numa_align_conf.gres import gres_conf
from numa_align_conf.layout import PARAMETERS, layout_of
from numa_align_conf.slurm import slurm_conf
from numa_align_conf.version import Version

VERSIONS = (Version(22, 5), Version(24, 11), Version(25, 11), Version(26, 5))


@pytest.fixture(scope="session")
def kinds(recorded: Path) -> list[tuple[Path, Kind]]:
    return machines_with_gpus(recorded, "n1")


def pairs(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line.split())


def node_lines(text: str) -> list[dict[str, str]]:
    return [pairs(line) for line in text.splitlines() if line.startswith("NodeName=")]


def files(record: dict[str, str]) -> list[str]:
    prefix, _, numbers = record["File"].partition("[")
    return [f"{prefix}{n}" for n in parse_cpulist(numbers.rstrip("]"))] if numbers else [prefix]


def refused(cores: set[int], sockets: int, size: int, version: Version) -> bool:
    """Whether slurmctld refuses Cores= of a node that is declared with so many sockets of so many cores."""
    touched = {core // size for core in cores}
    if not cores or max(cores) >= sockets * size:
        return True
    whole = len(cores) == len(touched) * size
    return not (version < (24, 11) or (whole and (version < (25, 11) or len(touched) in (1, sockets))))


def faults(kind: Kind, version: Version) -> Iterator[str]:
    """Where the two files break Slurm's rules."""
    (node,) = node_lines(slurm_conf([kind], version))
    text = gres_conf([kind], version)
    records = node_lines(text)
    if any("AutoDetect" in record for record in records):
        return
    counted = Counter(record["Type"] for record in records for _ in files(record))
    parts = [part.split(":") for part in node.get("Gres", "").split(",") if part]
    declared = Counter({name: int(count) for _, name, count in parts})
    if counted != declared:
        yield f"gres.conf has {counted}, slurm.conf {declared}"
    for record in records:
        cores = set(parse_cpulist(record.get("Cores", "")))
        if "Cores" not in record and "# No Cores=: " not in text:
            yield f"no reason: {record}"
        elif cores and refused(cores, int(node["SocketsPerBoard"]), int(node["CoresPerSocket"]), version):
            yield f"refused: {record} with {node}"


@pytest.mark.parametrize("version", VERSIONS)
def test_slurm_takes_what_is_written_for_each_machine(
    kinds: list[tuple[Path, Kind]], version: Version
) -> None:
    assert len(kinds) > at_least(recorded=45, own=14)
    found = {root.name: list(faults(kind, version)) for root, kind in kinds}
    assert {name: texts for name, texts in found.items() if texts} == {}


def hwloc_xml(root: Path) -> str:
    """What hwloc reads from the same files."""
    words = f"lstopo-no-graphics --input {root} --input-format fsroot --of xml --no-io -"
    return subprocess.run(words.split(), capture_output=True, text=True, check=True, timeout=60).stdout


def hwloc_cores(root: Path) -> list[set[int]]:
    """The CPUs of each core in hwloc's logical order."""
    cores = (
        one for one in ElementTree.fromstring(hwloc_xml(root)).iter("object") if one.get("type") == "Core"
    )
    return [
        {int(unit.attrib["os_index"]) for unit in core.iter("object") if unit.get("type") == "PU"}
        for core in cores
    ]


def misplaced(root: Path, kind: Kind, version: Version) -> Iterator[str]:
    """GPUs whose Cores= are, by hwloc, not the CPUs near to it, and of which no comment says so."""
    text = gres_conf([kind], version)
    remarks = re.sub(r"\n# ", " ", text)
    cpus_of = {gpu.device: set(gpu.cpus) for gpu in kind.topology.gpus}
    records = [record for record in node_lines(text) if "Cores" in record]
    cores = hwloc_cores(root) if records else []
    for record in records:
        cpus = {cpu for number in parse_cpulist(record["Cores"]) for cpu in cores[number]}
        for file in files(record):
            if cpus != cpus_of[file] and f"({file}): " not in remarks:
                yield f"{record}: {sorted(cpus)} for {sorted(cpus_of[file])}"


def need_lstopo() -> None:
    if shutil.which("lstopo-no-graphics") is None:
        pytest.skip("lstopo is not installed (hwloc-nox)")


@pytest.mark.parametrize("version", [Version(24, 11), Version(26, 5)])
def test_core_numbers_are_hwlocs(kinds: list[tuple[Path, Kind]], version: Version) -> None:
    need_lstopo()
    found = {root.name: list(misplaced(root, kind, version)) for root, kind in kinds}
    assert {name: texts for name, texts in found.items() if texts} == {}
    with_cores = sum("Cores=" in "".join(node_lines_text(kind, version)) for _, kind in kinds)
    assert with_cores > at_least(recorded=25, own=10)


def node_lines_text(kind: Kind, version: Version) -> list[str]:
    return [line for line in gres_conf([kind], version).splitlines() if line.startswith("NodeName=")]


SHAPE = re.compile(r"CPUs=(\d+) .*SocketsPerBoard=(\d+) CoresPerSocket=(\d+) ThreadsPerCore=(\d+)")


@pytest.mark.matrix  # the only release whose slurmd -C can be told what is a socket
def test_slurmd_sees_the_same_sockets_and_cores(kinds: list[tuple[Path, Kind]]) -> None:
    """`slurmd -C` of real Slurm 26.05, which hwloc tells of the recorded machine in place of this one."""
    need_lstopo()
    if why_not() is not None:
        pytest.skip(str(why_not()))
    compared, different = 0, []
    with Native("26.05", config=WITHOUT_CGROUPS) as native:
        for root, kind in kinds:
            native.put({"/tmp/machine.xml": hwloc_xml(root).encode()})
            for name, word in PARAMETERS.items():
                layout = layout_of(kind.topology, name)
                if layout.flaw is not None:
                    continue
                command = f"HWLOC_XMLFILE=/tmp/machine.xml slurmd -C {f'--parameters={word}' if word else ''}"
                said = SHAPE.search(native.run(command, check=True).stdout)
                counts = (len(layout.sockets), layout.cores_per_socket, layout.threads)
                ours = (len(kind.topology.online), *counts)
                compared += 1
                if said is None or tuple(map(int, said.groups())) != ours:
                    different.append((root.name, name, ours, said and said[0]))
    assert different == []
    assert compared > at_least(recorded=75, own=14)
