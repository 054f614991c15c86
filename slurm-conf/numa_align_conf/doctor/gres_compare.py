"""Compares gres.conf with itself and with slurm.conf, as slurmd and slurmctld do.

Source: src/interfaces/gres.c and src/plugins/gres/gpu/gres_gpu.c. Slurm's messages are quoted only as far as
they name the fault, since releases word them differently. tests/native/test_doctor_oracle.py compares the
findings with `slurmd -G`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from numa_align.slurm_files.gres_lines import Fault, GresLine
from numa_align.slurm_files.hostlist import fold

from ..gres_words import Wanted, count_of, entries_of, misspelt, wanted_gpus
from .gres_detect import detects
from .merge import Merged, merge, slots
from .model import Facts, Finding
from .other_gres import OtherGres

_DEAD = "slurmd does not start"
_NO_GPU = "no job gets a GPU of this node"
_INVALID = "slurmctld sets the node INVALID: no job runs here"


def refused_lines(facts: Facts) -> Iterator[Finding]:
    """Lines that Slurm does not accept, whichever node they are about."""
    for fault in facts.gres_faults:
        if fault.since is None or facts.version is None or facts.version < fault.since:
            yield _refused(facts, fault)


def others(facts: Facts) -> Iterator[Finding]:
    """Lines about other gres (mps, shard, nic) against GresTypes= and Gres= of slurm.conf."""
    types = _gres_types(facts)
    for one in facts.other_gres if facts.has_gpus and facts.slurm_conf is not None else ():
        if one.name not in types:
            yield _fail(
                "gres-types",
                f"{one.place}: Name={one.name} is not in GresTypes= (Ignoring gres.conf record, invalid "
                f"name: {one.name})",
                f"no job gets {one.name} here",
                f"{facts.place('grestypes')}: GresTypes={','.join([*types, one.name])}",
            )
        elif one.number is not None and facts.declared_gres is not None:
            yield from _other_count(facts, one, one.number)


def _other_count(facts: Facts, one: OtherGres, found: int) -> Iterator[Finding]:
    wanted = sum(entry.number for entry in entries_of(facts.declared_gres or "") if entry.name == one.name)
    place = facts.place("nodename")
    if wanted < found:
        yield _fail(
            "gres-count",
            f"{place}: Gres= has {wanted} {one.name}, {one.place} has {found} (A line in gres.conf for GRES "
            f"{one.name} has {found - wanted} more configured than expected in slurm.conf. Ignoring extra "
            "GRES)",
            "what is in excess is given to no job",
            f"{place}: Gres= with {one.name}:{found}, or no such line in {facts.gres_conf}",
        )


def _gres_types(facts: Facts) -> list[str]:
    """The words of GresTypes= as written, since their case matters."""
    return [word for word in facts.settings.get("grestypes", "").split(",") if word]


def _refused(facts: Facts, fault: Fault) -> Finding:
    sure = fault.since is None or facts.version is not None
    said = f"Parsing error at unrecognized key: {fault.key}"
    if not fault.fatal:
        said = "Invalid range" if fault.key == "nodename" else "Invalid GRES data, no type name"
    return Finding(
        "gres-key",
        "fail" if sure else "warn",
        f"{fault.place}: {_KEYS.get(fault.key, fault.key)}=: {fault.what} ({said})",
        _DEAD if fault.fatal else "the line has no effect",
        f"{fault.place}: see gres.conf(5) of your release",
    )


_KEYS = {
    "autodetect": "AutoDetect", "count": "Count", "cores": "Cores", "cpus": "CPUs", "file": "File",
    "name": "Name", "nodename": "NodeName", "type": "Type", "uuid": "UUID",
}  # fmt: skip


def records(facts: Facts) -> Iterator[Finding]:
    """Lines about GPUs that are wrong by themselves, or contradict each other."""
    lines = [line for line in facts.gres if line.named]
    if not facts.has_gpus or not lines:
        return
    yield from _mixed(lines)
    for line in lines:
        yield from _count(line)
        yield from _links(line)
    yield from _missing(facts, lines)


def _mixed(lines: Sequence[GresLine]) -> Iterator[Finding]:
    for key, having in (
        ("File", [bool(line.devices) for line in lines]),
        ("Type", [bool(line.type) for line in lines]),
    ):
        if any(having) and not all(having):
            without = _places([line for line, has in zip(lines, having) if not has])
            said = (
                f'some records have "{key}{"=" if key == "Type" else ""}" specification while others do not'
            )
            yield _fail(
                "gres-mixed",
                f"{without}: has no {key}=, and others have ({said})",
                _DEAD,
                f"{without}: {key}= on every line of this node's GPUs, or on none",
            )


def _count(line: GresLine) -> Iterator[Finding]:
    if line.multiple and len(line.files) < 2:
        yield _fail(
            "gres-count",
            f"{line.place}: MultipleFiles= names one file (MultipleFiles does not contain multiple files. "
            "Use File instead)",
            _DEAD,
            f"{line.place}: File= in place of MultipleFiles=",
        )
    if line.number is None:
        return
    if count_of(line.number) is None:
        yield _fail(
            "gres-count",
            f"{line.place}: Count={line.number} is not a number (Invalid GRES record for gpu, invalid count "
            f"{line.number})",
            _DEAD,
            f"{line.place}: remove Count=",
        )
    elif line.devices and count_of(line.number) != len(line.devices):
        yield _fail(
            "gres-count",
            f"{line.place}: Count={line.number} and {len(line.devices)} files (Invalid GRES record for gpu, "
            "count does not match File value)",
            _DEAD,
            f"{line.place}: Count={len(line.devices)}, or no Count=",
        )


def _links(line: GresLine) -> Iterator[Finding]:
    """Links= has a number for each GPU, and -1 for the GPU itself (gres_links_validate)."""
    if line.links is None:
        return
    tokens = line.links.split(",")
    strange = next((token for token in tokens if not re.fullmatch(r"-?\d{1,4}", token)), None)
    if strange is not None:
        said = f"Failed to parse token '{strange}' in links string"
    elif "-1" not in tokens:
        said = "-1 wasn't found in links string"
    elif tokens.count("-1") > 1:
        said = "links string has more than one -1"
    else:
        return
    yield _fail(
        "gres-links",
        f"{line.place}: Links={line.links} ({said})",
        "the links are ignored",
        f"{line.place}: remove Links=, or take the line of `numa-align conf gres`",
    )


def _missing(facts: Facts, lines: Sequence[GresLine]) -> Iterator[Finding]:
    places = {file: line.place for line in reversed(lines) for file in line.files}
    missing = [file for line in lines for file in line.files if file in facts.missing_files]
    if not missing:
        return
    first = missing[0]
    unloaded = all(gpu.device is None for gpu in facts.topology.gpus)
    names, where = fold(missing), ", ".join(dict.fromkeys(places[file] for file in missing))
    yield _fail(
        "gres-driver" if unloaded else "gres-file",
        f"{where}: {names} {'do' if missing[1:] else 'does'} not exist (can't stat gres.conf file "
        f"{first})" + (": the driver of the GPUs is not loaded" if unloaded else ""),
        _DEAD,
        "load the driver before slurmd starts (nvidia-modprobe, nvidia-persistenced)"
        if unloaded
        else f"{where}: name the files that exist",
    )


def declared_gres(facts: Facts) -> Iterator[Finding]:
    """Compares Gres= and GresTypes= of slurm.conf with what gres.conf has for this node."""
    if (
        not facts.has_gpus
        or facts.slurm_conf is None
        or facts.declared is None
        or facts.declared_gres is None
    ):
        return
    place = facts.place("nodename")
    types = _gres_types(facts)
    if "gpu" not in types:
        yield _fail(
            "gres-types",
            f"{facts.slurm_conf} has no GresTypes=gpu: Slurm knows no gres of this name",
            _NO_GPU,
            f"{facts.place('grestypes')}: GresTypes="
            + ",".join(["gpu", *(word for word in types if word.lower() != "gpu")]),
        )
        return
    wrong, told = misspelt(facts.declared_gres), wanted_gpus(facts.declared_gres)
    kinds = {kind is None for kind, _ in told}
    lines = [line for line in facts.gres if line.named]
    if wrong is not None:
        yield _fail(
            "gres-declared",
            f"{place}: Gres={wrong} (Invalid GRES configured on node {facts.name}: {wrong})",
            _NO_GPU,
            f"{place}: gpu in lower case",
        )
    elif len(kinds) > 1:
        yield _fail(
            "gres-declared",
            f"{place}: Gres={facts.declared_gres} (Some gpu GRES in slurm.conf have a type while others do "
            "not)",
            _DEAD,
            f"{place}: a type in every entry about GPUs, or in none",
        )
    elif not sum(count for _, count in told):
        where = f" and {lines[0].place} has GPUs" if lines else ""
        yield _fail(
            "gres-declared",
            f"{place}: {facts.name} has no Gres=gpu{where} (more configured than expected in slurm.conf. "
            "Ignoring extra GRES)",
            _NO_GPU,
            f"{place}: Gres=, see `numa-align conf slurm`",
        )
    elif lines and not detects(facts) and not any(records(facts)):
        # Lines that are wrong themselves say nothing about slurm.conf: once corrected, they may match it.
        yield from _compared(facts, place, told, lines)


def _compared(facts: Facts, place: str, told: tuple[Wanted, ...], lines: list[GresLine]) -> Iterator[Finding]:
    merged = merge(told, lines)
    twice = list(_twice(merged, lines))
    if twice:
        # A device that is listed twice is counted twice, so such lines give no number.
        yield from twice
        return
    without = next((line for line in lines if not line.devices), None)
    if without is not None and not any(line.devices for line in lines):
        yield _fail(
            "gres-file",
            f"{without.place}: Name=gpu without File= (Ignoring file-less GPU from final GRES list)",
            _NO_GPU,
            f"{without.place}: see `numa-align conf gres`",
        )
        return
    written = {line.type.lower() if line.type else None for line in lines}
    unknown = next((kind for kind, _ in merged.missing if kind not in written), None)
    if unknown is not None:
        yield _other_type(facts, place, unknown, lines)
        return
    wanted, found = sum(count for _, count in told), sum(slots(line) for line in lines)
    if merged.missing:
        short = sum(count for _, count in merged.missing)
        yield _fail(
            "gres-count",
            f"{place}: Gres= has {wanted} GPUs, {_places(lines)} has {wanted - short} of them (gres/gpu "
            f"count reported lower than configured ({wanted - short} < {wanted}))",
            _INVALID,
            # If the machine has them all, gres.conf lacks some, which is reported for each GPU.
            f"{facts.gres_conf}: the GPUs that it lacks, see `numa-align conf gres`"
            if wanted == len(facts.topology.gpus)
            else f"{place}: {_with_count(facts.declared_gres or '', found)}",
        )
    elif merged.extra:
        count = sum(count for _, count in merged.extra)
        yield _fail(
            "gres-count",
            f"{place}: Gres= has {wanted} GPUs, {_places(lines)} has {found} (A line in gres.conf for GRES "
            f"gpu has {count} more configured than expected in slurm.conf. Ignoring extra GRES)",
            f"no job gets the excess GPUs of {_places([line for line, _ in merged.extra])}",
            f"{place}: {_with_count(facts.declared_gres or '', found)}",
        )


def _other_type(facts: Facts, place: str, unknown: str, lines: Sequence[GresLine]) -> Finding:
    types = sorted({line.type for line in lines if line.type})
    if not types:
        return _fail(
            "gres-type",
            f"{place}: Gres=gpu:{unknown}, and {_places(lines)} has no Type= (Ignoring extra GRES)",
            f"the node is INVALID: {_NO_GPU}",
            f"{_places(lines)}: Type={unknown} on every line of this node's GPUs, or no type in {place}",
        )
    total = sum(slots(line) for line in lines)
    return _fail(
        "gres-type",
        f"{place}: Gres=gpu:{unknown}, and {_places(lines)} has Type={', '.join(types)} (Ignoring extra "
        "GRES)",
        f"the node is INVALID: {_NO_GPU}",
        f"{place}: Gres=gpu:{types[0]}:{total}, or Type={unknown} in {_places(lines)}"
        if len(types) == 1
        else f"{place}: one of these types",
    )


def _twice(merged: Merged, lines: Sequence[GresLine]) -> Iterator[Finding]:
    """Devices on two lines: slurmd ends if it takes both, else the later line has no effect."""
    places: dict[str, str] = {}
    for line in lines:
        again: dict[str, list[str]] = {}
        for file in line.files if not line.multiple else ():
            if places.setdefault(file, line.place) != line.place:
                again.setdefault(places[file], []).append(file)
        for earlier, files in again.items():
            names, counted = fold(files), _times(merged, files[0])
            said = "gpu duplicate device file name"
            said = said if counted > 1 else f"Ignoring extra GRES; with a greater count in Gres=, {said}"
            yield _fail(
                "gres-file-twice",
                f"{line.place}: {names} {'are' if files[1:] else 'is'} in {earlier} already ({said})",
                _DEAD if counted > 1 else f"{earlier} applies, and this line is ignored",
                f"{line.place}: remove {names}; lines without NodeName= apply to this node too",
            )


def _times(merged: Merged, file: str) -> int:
    """How often Slurm takes a device."""
    return sum(file in device for one in merged.taken for device in one.devices)


def _places(lines: Sequence[GresLine]) -> str:
    """The places of the lines, each once."""
    return ", ".join(dict.fromkeys(line.place for line in lines))


def _with_count(gres: str, count: int) -> str:
    """The site's text with another number, if it has a single entry; else only the number."""
    entries = wanted_gpus(gres)
    if len(entries) != 1:
        return f"Gres= with {count} GPUs in total"
    kind = entries[0].type
    return "Gres=" + ":".join(["gpu", *([kind] if kind else []), str(count)])


def _fail(check: str, what: str, cost: str, change: str) -> Finding:
    return Finding(check, "fail", what, cost, change)
