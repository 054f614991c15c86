"""Checks of gres.conf and of where the GPUs are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from numa_align.cpulist import format_cpulist
from numa_align.slurm_files.gres_lines import GresLine, core_numbers
from numa_align.topology.model import Gpu

from ..layout import accepted, cores_of, restricted_at_most
from .gres_detect import detects
from .model import Facts, Finding

_COST_CORES = "jobs get cores far from their GPUs: half of the ranks on a machine with two nodes"


def gpus_have_a_node(facts: Facts) -> Iterator[Finding]:
    """GPUs whose NUMA node nobody knows (numa_node -1)."""
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
    """What gres.conf says of each GPU: Cores= missing, impossible, refused, of another node."""
    if not facts.has_gpus or facts.slurm_conf is None:
        return
    if detects(facts):
        return  # see gres_detect
    if all(gpu.device is None for gpu in facts.topology.gpus) and facts.missing_files:
        return  # the driver is not loaded, which is said once
    findings = [finding for gpu in facts.topology.gpus for finding in _gpu(facts, gpu)]
    # Several GPUs of a line have the same fault: it is to be changed once.
    seen: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        seen.setdefault((finding.check, finding.change), finding)
    yield from seen.values()
    if not findings:
        yield Finding("gres-cores", "ok", "Cores= of every GPU are those of its node")


def _gpu(facts: Facts, gpu: Gpu) -> Iterator[Finding]:
    line = next((line for line in facts.gres if gpu.device in line.files), None)
    place = facts.gres_conf or "gres.conf"
    if line is None:
        yield Finding(
            "gres-gpu",
            "fail",
            f"GPU {gpu.bdf} ({gpu.device or 'no device file'}) is not in {place}",
            "no job can get it",
            f"{place}: see `numa-align conf gres`",
        )
    elif line.cores is None:
        if _has_far_cores(facts, gpu):
            yield _fault(facts, gpu, line, "gres-cores-missing", "no Cores=")
    else:
        yield from _cores(facts, gpu, line, line.cores)


def _has_far_cores(facts: Facts, gpu: Gpu) -> bool:
    """Whether a missing Cores=, which makes every core near, is wrong for this GPU."""
    exact = facts.layout.numbers(gpu.cpus)
    return gpu.node is not None and 0 < len(exact) < len(facts.layout.cores)


def _fault(facts: Facts, gpu: Gpu, line: GresLine, check: str, what: str) -> Finding:
    change = f"{line.place}: {_proposal(facts, gpu)}"
    return Finding(check, "fail", f"{line.place}: {gpu.device}: {what}", _COST_CORES, change)


def _proposal(facts: Facts, gpu: Gpu) -> str:
    if facts.layout.flaw is not None:
        return f"leave Cores= out: {facts.layout.flaw}"
    return f"Cores={format_cpulist(cores_of(facts.layout, gpu, facts.checked_version).numbers)}"


def _cores(facts: Facts, gpu: Gpu, line: GresLine, text: str) -> Iterator[Finding]:
    layout, version = facts.layout, facts.checked_version
    numbers = core_numbers(text)
    if numbers is None:
        yield _fault(facts, gpu, line, "gres-cores-list", f"Cores={text} is no list of numbers")
        return
    right = cores_of(layout, gpu, version).numbers
    if numbers == right:
        return
    exact = layout.numbers(gpu.cpus)
    if exact and set(numbers) == set(gpu.cpus) != set(exact):
        yield _fault(facts, gpu, line, "gres-cores-cpus", f"Cores={text} are the GPU's CPUs, not its cores")
        return
    refused = accepted(layout, numbers, version)
    if refused is not None:
        yield _fault(facts, gpu, line, "gres-cores-socket", f"Cores={text}: {refused}")
        return
    if len(numbers) == len(layout.cores) and _has_far_cores(facts, gpu):
        what = f"Cores={text} are all cores, which is what no Cores= means"
        yield _fault(facts, gpu, line, "gres-cores-missing", what)
        return
    near = _near(facts, gpu, numbers)
    if near is not None:
        yield near if isinstance(near, Finding) else _fault(facts, gpu, line, "gres-cores-node", near)


def _near(facts: Facts, gpu: Gpu, numbers: tuple[int, ...]) -> Optional[str]:
    """Why these cores are not the GPU's; None if they are, or if nobody knows the GPU's."""
    cores = facts.layout.cores
    exact = facts.layout.numbers(gpu.cpus)
    if not exact or set(exact) == set(numbers) or len(numbers) == len(cores):
        return None
    common = len(set(exact) & set(numbers))
    text = format_cpulist(numbers)
    if not common:
        nodes = format_cpulist({cores[n].node or 0 for n in numbers})
        return f"Cores={text} are cores of node {nodes}, the GPU is on node {gpu.node}"
    return f"Cores={text} has {common} of the {len(exact)} cores that are near to the GPU"


def restricted_cores(facts: Facts) -> Iterator[Finding]:
    """RestrictedCoresPerGPU=, cores near each GPU that only jobs with GPUs get: known, and enough of them."""
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
            f"{facts.place('nodename')}: without RestrictedCoresPerGPU=, which 24.05 brought",
        )
        return
    bare = not detects(facts) and any(line.cores is None for line in facts.gres if line.named)
    most = 0 if bare else restricted_at_most(facts.layout, facts.topology.gpus)
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
