"""AutoDetect= of gres.conf: which value applies to this node, and what it finds.

Source: _handle_local_autodetect and _handle_global_autodetect in src/interfaces/gres.c, src/interfaces/gpu.c,
_merge_system_gres_conf in src/plugins/gres/gpu/gres_gpu.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from numa_align.slurm_files.gres_lines import DETECTORS, GresLine, core_numbers, detection, detector

from ..gres_words import wanted_gpus
from ..layout import accepted
from .model import Facts, Finding

_VENDORS = {
    "nvml": ("nvidia",),
    "nvidia": ("nvidia",),
    "rsmi": ("amd",),
    "oneapi": ("intel",),
    "nrt": (),
    "full": ("nvidia", "amd", "intel"),
}
_NAMES = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel"}

#: Slurm's plugin that looks for GPUs, for those that need the vendor's library.
_PLUGINS = {
    "nvml": "gpu_nvml.so",
    "rsmi": "gpu_rsmi.so",
    "oneapi": "gpu_oneapi.so",
    "nvidia": "gpu_nvidia.so",
}

_NO_GPU = "no job gets a GPU of this node"


def detects(facts: Facts) -> bool:
    """Whether Slurm finds this node's GPUs itself; if it finds none, the lines alone count."""
    word = detection(facts.gres, facts.version)
    return word != "off" and _sees(facts, word) and _has_plugin(facts, word)


def _sees(facts: Facts, word: str) -> bool:
    return not {gpu.vendor for gpu in facts.topology.gpus}.isdisjoint(_VENDORS[word])


def _has_plugin(facts: Facts, word: str) -> bool:
    """Whether Slurm has the plugin; yes if that is unknown."""
    return facts.gpu_plugins is None or word not in _PLUGINS or _PLUGINS[word] in facts.gpu_plugins


def autodetect(facts: Facts) -> Iterator[Finding]:
    """AutoDetect= that has no effect, contradicts itself, is unknown, or finds none of these GPUs."""
    if not facts.has_gpus:
        return
    for line in facts.gres:
        if line.autodetect and line.named and not line.for_node:
            yield _fail(
                f"{line.place}: AutoDetect= on a Name= line is ignored (In-line AutoDetect requires "
                "NodeName to take effect)",
                "the GPUs are those that the lines name",
                f"{line.place}: remove AutoDetect={line.autodetect}, or begin the line with "
                f"NodeName={facts.name}",
            )
        elif line.autodetect and detector(line.autodetect, facts.version) is None:
            yield _unknown(facts, line, line.autodetect)
    yield from _two(facts)
    word = detection(facts.gres, facts.version)
    if word != "off":
        yield from _finds_nothing(facts, word)


def _unknown(facts: Facts, line: GresLine, value: str) -> Finding:
    newer = detector(value)
    since = ", which exists since {}.{:02d}".format(*DETECTORS[newer]) if newer in DETECTORS else ""
    known = [word for word, release in DETECTORS.items() if facts.checked_version >= release]
    return _fail(
        f"{line.place}: AutoDetect={value}{since} (unknown autodetect flag)",
        f"nothing is detected: {_NO_GPU} but those of lines with File=",
        f"{line.place}: one of {', '.join(known)}, off",
    )


def _two(facts: Facts) -> Iterator[Finding]:
    """Two values for one node: the first that Slurm knows applies, and slurmd ends at any other."""
    first: Optional[GresLine] = None
    for line in facts.gres:
        if not (line.autodetect and line.for_node):
            continue
        word = detector(line.autodetect, facts.version)
        if first is not None and word != detector(first.autodetect or "", facts.version):
            yield _fail(
                f"{first.place} (AutoDetect={first.autodetect}) and {line.place} "
                f"(AutoDetect={line.autodetect}): duplicate node-local AutoDetect specification does not "
                "match the first",
                "slurmd does not start",
                f"{line.place}: the same AutoDetect= as in {first.place}, or none",
            )
            return
        first = first or (line if word is not None else None)


def _finds_nothing(facts: Facts, word: str) -> Iterator[Finding]:
    place = next(line.place for line in facts.gres if line.autodetect and detector(line.autodetect) == word)
    if any(line.named and line.devices for line in facts.gres):
        return  # these GPUs need not be detected
    vendors = {gpu.vendor for gpu in facts.topology.gpus}
    if not _sees(facts, word):
        names = " and ".join(_NAMES.get(vendor, vendor) for vendor in sorted(vendors))
        right = [other for other, found in _VENDORS.items() if vendors & set(found)]
        right = [other for other in right if facts.checked_version >= DETECTORS[other]]
        yield _fail(
            f"{place}: AutoDetect={word} finds no GPU of {names}",
            _NO_GPU,
            f"{place}: AutoDetect={right[0]}, or lines with File=" if right else f"{place}: lines with File=",
        )
    elif not _has_plugin(facts, word):
        yield _fail(
            f"{place}: AutoDetect={word} needs {_PLUGINS[word]}, which this Slurm's PluginDir does not have",
            f"nothing is detected: {_NO_GPU}",
            f"{place}: lines with File=, see `numa-align conf gres`; or a Slurm that was built with it",
        )


def detected_gres(facts: Facts) -> Iterator[Finding]:
    """Compares Gres= and Cores= with what Slurm detects, as `slurmd -G` shows it."""
    if not facts.has_gpus or facts.slurm_conf is None or not detects(facts):
        return
    findings = [*_counted(facts), *_cores(facts)]
    yield from findings
    if not findings:
        yield Finding("gres-cores", "ok", "gres.conf leaves the GPUs' cores to AutoDetect; see `slurmd -G`")


def _counted(facts: Facts) -> Iterator[Finding]:
    word = detection(facts.gres, facts.version)
    # With NVML each MIG instance is one more, and their number is unknown here.
    if word not in ("nvml", "nvidia") or facts.declared_gres is None or (facts.divided and word == "nvml"):
        return
    detected = {gpu.device or gpu.bdf for gpu in facts.topology.gpus if gpu.vendor == "nvidia"}
    found = len(detected.union(file for line in facts.gres if line.named for file in line.files))
    wanted = sum(count for _, count in wanted_gpus(facts.declared_gres))
    place = facts.place("nodename")
    if wanted > found > 0:
        yield Finding(
            "gres-count",
            "fail",
            f"{place}: Gres= has {wanted} GPUs, AutoDetect={word} finds {found} (gres/gpu count reported "
            f"lower than configured ({found} < {wanted}))",
            "slurmctld sets the node INVALID: no job runs here",
            f"{place}: Gres= with {found} GPUs",
        )
    elif 0 < wanted < found:
        yield Finding(
            "gres-count",
            "fail",
            f"{place}: Gres= has {wanted} GPUs, AutoDetect={word} finds {found} ({found - wanted} more "
            "configured than expected in slurm.conf. Ignoring extra GRES)",
            "no job gets the excess GPUs",
            f"{place}: Gres= with {found} GPUs",
        )


def _cores(facts: Facts) -> Iterator[Finding]:
    """Cores= beside AutoDetect have to equal what Slurm detects, which has to be whole sockets."""
    contradicting: dict[GresLine, None] = {}
    for gpu in facts.topology.gpus:
        exact = facts.aimed.numbers(gpu.cpus)
        line = next((line for line in facts.gres if gpu.device in line.files and line.cores), None)
        if line is not None and exact and core_numbers(line.cores or "") != exact:
            contradicting[line] = None
    for line in contradicting:
        yield Finding(
            "gres-cores-detected",
            "fail",
            f"{line.place}: Cores={line.cores} beside AutoDetect are not those of the GPU's node (This GPU "
            "specified in [slurm|gres].conf has mismatching Cores or Links from the device found on the "
            "system)",
            "Slurm drops these GPUs, and the node is INVALID",
            f"{line.place}: leave Cores= out",
        )
    refused = [
        reason
        for gpu in facts.topology.gpus
        if (exact := facts.aimed.numbers(gpu.cpus))
        and (reason := accepted(facts.aimed, exact, facts.checked_version)) is not None
    ]
    if refused and facts.aimed.flaw is None:
        place = next(line.place for line in facts.gres if line.autodetect)
        yield Finding(
            "gres-cores-detected",
            "fail",
            f"{place}: the cores that AutoDetect finds for a GPU are those of its NUMA node, and "
            f"{refused[0]} (GRES "
            "autodetected core affinity doesn't match socket boundaries)",
            "slurmctld sets the node INVALID: no job runs here",
            f"{place}: lines with File= and Cores=, or Parameters=numa_node_as_socket; see `numa-align conf "
            "gres`",
        )


def _fail(what: str, cost: str, change: str) -> Finding:
    return Finding("gres-autodetect", "fail", what, cost, change)
