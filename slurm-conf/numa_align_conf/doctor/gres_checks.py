"""Checks of gres.conf and of the GPUs' nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from numa_align.cpulist import format_cpulist
from numa_align.slurm_files.gres_lines import GresLine, core_numbers
from numa_align.slurm_files.hostlist import fold
from numa_align.topology.model import Gpu

from ..layout import accepted, cores_of, restricted_at_most
from .gres_detect import detects
from .model import Facts, Finding

_COST_CORES = "jobs get cores far from their GPUs: half of the ranks on a machine with two nodes"


def gpus_have_a_node(facts: Facts) -> Iterator[Finding]:
    """GPUs whose NUMA node is unknown (numa_node -1)."""
    lost = [gpu.bdf for gpu in facts.topology.gpus if gpu.node is None]
    if lost:
        names = ", ".join(lost[:4]) + (", ..." if lost[4:] else "")
        yield Finding(
            "gpu-node",
            "fail",
            f"the NUMA node of {len(lost)} GPUs is not known: {names}",
            "these GPUs' tasks stay unaligned",
            "name their nodes in /etc/numa-align/override.toml; see `numa-align topo`",
        )
    elif facts.has_gpus:
        yield Finding("gpu-node", "ok", "the NUMA node of every GPU is known")


def gres_lines(facts: Facts) -> Iterator[Finding]:
    """What gres.conf says of each GPU: Cores= missing, impossible, refused, or of another node."""
    if not facts.has_gpus or facts.slurm_conf is None:
        return
    if detects(facts):
        return  # see gres_detect
    if all(gpu.device is None for gpu in facts.topology.gpus) and facts.missing_files:
        return  # the driver is not loaded, which is reported once
    findings = [*_absent(facts), *_cores_of_lines(facts)]
    yield from findings
    if not findings:
        yield Finding("gres-cores", "ok", "Cores= of every GPU are those of its node")


def _line_of(facts: Facts, gpu: Gpu) -> Optional[GresLine]:
    return next((line for line in facts.gres if gpu.device in line.files), None)


def _absent(facts: Facts) -> Iterator[Finding]:
    place = facts.gres_conf or "gres.conf"
    absent = [gpu for gpu in facts.topology.gpus if _line_of(facts, gpu) is None]
    if absent:
        names = ", ".join(f"{gpu.bdf} ({gpu.device or 'no device file'})" for gpu in absent)
        yield Finding(
            "gres-gpu",
            "fail",
            f"GPU {names} is not in {place}" if len(absent) == 1 else f"GPUs {names} are not in {place}",
            "no job can get it" if len(absent) == 1 else "no job can get them",
            f"{place}: see `numa-align conf gres`",
        )


def _cores_of_lines(facts: Facts) -> Iterator[Finding]:
    """One finding per fault of a line, for all of its GPUs that have it."""
    faulty: dict[tuple[GresLine, str, str], list[str]] = {}
    for gpu in facts.topology.gpus:
        line = _line_of(facts, gpu)
        fault = None if line is None else _fault(facts, gpu, line)
        if line is not None and fault is not None:
            faulty.setdefault((line, *fault), []).append(gpu.device or gpu.bdf)
    for (line, check, what), devices in faulty.items():
        change = f"{line.place}: {_proposal(facts, line)}"
        yield Finding(check, "fail", f"{line.place}: {fold(devices)}: {what}", _COST_CORES, change)


def _has_far_cores(facts: Facts, gpu: Gpu) -> bool:
    """Whether a missing Cores=, which makes every core near, is wrong for this GPU."""
    if facts.aimed.flaw is not None:
        return False  # no list of cores would be right
    exact = facts.aimed.numbers(gpu.cpus)
    return gpu.node is not None and 0 < len(exact) < len(facts.aimed.cores)


def _proposal(facts: Facts, line: GresLine) -> str:
    """The right Cores= for all GPUs of the line: several lines, if they are near different cores."""
    layout = facts.aimed
    if layout.flaw is not None:
        return f"leave Cores= out: {layout.flaw}"
    parts: dict[str, list[str]] = {}
    for gpu in facts.topology.gpus:
        if gpu.device in line.files:
            cores = format_cpulist(cores_of(layout, gpu, facts.checked_version).numbers)
            parts.setdefault(cores, []).append(gpu.device or "")
    if len(parts) == 1:
        return f"Cores={next(iter(parts))}"
    lines = (f"File={fold(devices)} Cores={cores}" for cores, devices in parts.items())
    return "one line for each: " + ", and ".join(lines)


def _fault(facts: Facts, gpu: Gpu, line: GresLine) -> Optional[tuple[str, str]]:
    """The fault of a line's Cores= for a GPU, as the name of the check and in words."""
    if line.cores is None:
        return ("gres-cores-missing", "no Cores=") if _has_far_cores(facts, gpu) else None
    numbers = core_numbers(line.cores)
    if numbers is None:
        return "gres-cores-list", f"Cores={line.cores} is not a list of numbers"
    if numbers == cores_of(facts.aimed, gpu, facts.checked_version).numbers:
        return None
    return _wrong_cores(facts, gpu, line.cores, numbers)


def _wrong_cores(facts: Facts, gpu: Gpu, text: str, numbers: tuple[int, ...]) -> Optional[tuple[str, str]]:
    layout = facts.aimed
    exact = layout.numbers(gpu.cpus)
    if exact and set(numbers) == set(gpu.cpus) != set(exact):
        return "gres-cores-cpus", f"Cores={text} are the GPU's CPUs, not its cores"
    refused = accepted(layout, numbers, facts.checked_version)
    if refused is not None:
        return "gres-cores-socket", f"Cores={text}: {refused}"
    if len(numbers) == len(layout.cores) and _has_far_cores(facts, gpu):
        return "gres-cores-missing", f"Cores={text} are all cores, which is the same as no Cores="
    near = _near(facts, gpu, numbers)
    return None if near is None else ("gres-cores-node", near)


def _near(facts: Facts, gpu: Gpu, numbers: tuple[int, ...]) -> Optional[str]:
    """Why these cores are not the GPU's; None if they are, or if the GPU's are unknown."""
    cores = facts.aimed.cores
    exact = facts.aimed.numbers(gpu.cpus)
    if not exact or set(exact) == set(numbers) or len(numbers) == len(cores):
        return None
    common = len(set(exact) & set(numbers))
    text = format_cpulist(numbers)
    if not common:
        nodes = format_cpulist({cores[n].node or 0 for n in numbers})
        return f"Cores={text} are cores of node {nodes}, the GPU is on node {gpu.node}"
    return f"Cores={text} has {common} of the {len(exact)} cores that are near to the GPU"


def restricted_cores(facts: Facts) -> Iterator[Finding]:
    """RestrictedCoresPerGPU=, cores near each GPU that only jobs with GPUs get: known, and enough cores."""
    number = facts.node.get("restrictedcorespergpu", "")
    if not number.isdigit() or int(number) == 0 or not facts.has_gpus:
        return
    said = f"{facts.place('nodename')}: RestrictedCoresPerGPU={number}"
    if not facts.checked_version.restricts_cores:
        yield Finding(
            "restricted-cores",
            "fail",
            f"{said}: Slurm {facts.checked_version} has no such key (Parsing error at unrecognized key)",
            "no daemon starts",
            f"{facts.place('nodename')}: remove RestrictedCoresPerGPU=, which exists since 24.05",
        )
        return
    bare = not detects(facts) and any(line.cores is None for line in facts.gres if line.named)
    most = 0 if bare else restricted_at_most(facts.aimed, facts.topology.gpus)
    if most == 0 or int(number) > most:
        said_by_slurm = "doesn't have access to that many unique cores" if most else "don't have any topology"
        yield Finding(
            "restricted-cores",
            "fail",
            f"{said}: {most or 'no'} cores are near each GPU and near no other (the GPU {said_by_slurm})",
            "slurmctld sets the node INVALID: no job runs here",
            f"{facts.place('nodename')}: "
            + (f"RestrictedCoresPerGPU={most} at most" if most else "without RestrictedCoresPerGPU="),
        )
    else:
        yield Finding(
            "restricted-cores", "ok", f"{number} cores near each GPU are kept for jobs that ask for GPUs"
        )
