"""gres.conf against itself and against slurm.conf, by what slurmd and slurmctld check.

Source: src/interfaces/gres.c and src/plugins/gres/gpu/gres_gpu.c. What Slurm says is quoted as far as it
names the fault; versions word it differently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .model import Facts, Finding, GresLine

#: What AutoDetect= may hold; Slurm looks for these words anywhere in the value.
DETECTORS = ("nvml", "nvidia", "rsmi", "oneapi", "nrt", "full")

_DEAD = "slurmd does not start"
_NO_GPU = "no job gets a GPU of this node"


def effective_autodetect(lines: tuple[GresLine, ...]) -> str:
    """The value that holds for this node, in lower case; ``off`` where there is none.

    A node's own word wins over the one for all. On a ``Name=`` line without NodeName= Slurm ignores it.
    """
    own = [line.autodetect for line in lines if line.autodetect and line.for_node]
    everyone = [line.autodetect for line in lines if line.autodetect and not line.for_node and not line.named]
    return (own or everyone or ["off"])[-1]


def detects(lines: tuple[GresLine, ...]) -> bool:
    """Whether Slurm looks for this node's GPUs itself."""
    return any(word in effective_autodetect(lines) for word in DETECTORS)


def autodetect(facts: Facts) -> Iterator[Finding]:
    """AutoDetect= that does nothing, contradicts itself, or is not known."""
    if not facts.has_gpus:
        return
    for line in facts.gres:
        if line.autodetect and line.named and not line.for_node:
            yield _fail(
                "gres-autodetect",
                f"{line.place}: AutoDetect= on a Name= line without NodeName= is ignored "
                "(In-line AutoDetect requires NodeName to take effect)",
                "the GPUs are those that the lines name",
                f"{line.place}: remove AutoDetect={line.autodetect}, or write NodeName={facts.name} into it",
            )
        elif line.autodetect and line.autodetect != "off" and not _is_known(line.autodetect):
            yield _fail(
                "gres-autodetect",
                f"{line.place}: AutoDetect={line.autodetect} (unknown autodetect flag)",
                "nothing is detected: " + _NO_GPU,
                f"{line.place}: one of {', '.join(DETECTORS)}, off",
            )
    own = [line for line in facts.gres if line.autodetect and line.for_node]
    if len({line.autodetect for line in own}) > 1:
        places = " and ".join(f"{line.place} (AutoDetect={line.autodetect})" for line in own[:2])
        yield _fail(
            "gres-autodetect",
            f"{places}: duplicate node-local AutoDetect specification does not match the first",
            _DEAD,
            f"{own[-1].place}: the same AutoDetect= as in {own[0].place}, or none",
        )


def _is_known(value: str) -> bool:
    return any(word in value for word in DETECTORS)


def records(facts: Facts) -> Iterator[Finding]:
    """Lines about GPUs that contradict each other: Type= or File= on some, Count= unlike files."""
    lines = [line for line in facts.gres if line.named]
    if not facts.has_gpus or not lines:
        return
    for key, having in (
        ("File", [bool(line.files) for line in lines]),
        ("Type", [bool(x.type) for x in lines]),
    ):
        if any(having) and not all(having):
            first = next(line for line, has in zip(lines, having) if not has)
            yield _fail(
                "gres-mixed",
                f'{first.place}: has no {key}=, and others have (some records have "{key}" specification '
                "while others do not)",
                _DEAD,
                f"{first.place}: {key}= on every line of this node's GPUs, or on none",
            )
    for line in lines:
        if line.files and line.count is not None and line.count != len(line.files):
            yield _fail(
                "gres-count",
                f"{line.place}: Count={line.count} and {len(line.files)} files (Invalid GRES record for gpu, "
                "count does not match File value)",
                _DEAD,
                f"{line.place}: Count={len(line.files)}, or no Count=",
            )
    yield from _files(facts, lines)


def _files(facts: Facts, lines: list[GresLine]) -> Iterator[Finding]:
    places: dict[str, str] = {}
    for line in lines:
        for file in line.files:
            if file in places:
                yield _fail(
                    "gres-file-twice",
                    f"{line.place}: {file} is in {places[file]} already (gpu duplicate device file name)",
                    _DEAD,
                    f"{line.place}: remove {file}; lines without NodeName= hold for this node too",
                )
                return
            places[file] = line.place
    missing = [file for file in places if file in facts.missing_files]
    if missing:
        first = missing[0]
        unloaded = all(gpu.device is None for gpu in facts.topology.gpus)
        names = f"{first} to {missing[-1]}" if len(missing) > 1 else first
        yield _fail(
            "gres-driver" if unloaded else "gres-file",
            f"{places[first]}: {names} {'are' if missing[1:] else 'is'} not there (can't stat gres.conf file "
            f"{first})" + (": the driver of the GPUs is not loaded" if unloaded else ""),
            _DEAD,
            "load the driver before slurmd starts (nvidia-modprobe, nvidia-persistenced)"
            if unloaded
            else f"{places[first]}: name the files that there are",
        )


def declared_gres(facts: Facts) -> Iterator[Finding]:
    """Gres= and GresTypes= of slurm.conf against what gres.conf has for this node."""
    if (
        not facts.has_gpus
        or facts.slurm_conf is None
        or facts.declared is None
        or facts.declared_gres is None
    ):
        return
    place = facts.place("nodename")
    if "gpu" not in facts.words("grestypes"):
        yield _fail(
            "gres-types",
            f"{facts.slurm_conf} has no GresTypes=gpu: Slurm knows no gres of this name",
            _NO_GPU,
            f"{facts.place('grestypes')}: GresTypes=gpu",
        )
        return
    lines = [line for line in facts.gres if line.named]
    told = _counts(facts.declared_gres)
    if not told:
        where = f" and {lines[0].place} has GPUs" if lines else ""
        yield _fail(
            "gres-declared",
            f"{place}: {facts.name} has no Gres=gpu{where} (more configured than expected in slurm.conf. "
            "Ignoring extra GRES)",
            _NO_GPU,
            f"{place}: Gres=, see `numa-align conf slurm`",
        )
    elif lines and not detects(facts.gres) and all(line.files for line in lines) and not any(records(facts)):
        # Lines that are wrong themselves are no measure for slurm.conf: mended, they may agree with it.
        yield from _compared(facts, place, told, lines)


def _compared(facts: Facts, place: str, told: Counter[str], lines: list[GresLine]) -> Iterator[Finding]:
    there: Counter[str] = Counter()
    for line in lines:
        there[line.type or ""] += len(line.files)
    written = lines[0].place
    unknown = sorted(kind for kind in told if kind and kind not in there and "" not in there)
    if unknown:
        types = ", ".join(sorted(there))
        yield _fail(
            "gres-type",
            f"{place}: Gres=gpu:{unknown[0]}, and {written} has Type={types} (Ignoring extra GRES)",
            f"the node is INVALID: {_NO_GPU}",
            f"{place}: Gres=gpu:{types}:{sum(there.values())}, or Type={unknown[0]} in {written}",
        )
        return
    wanted, found = sum(told.values()), sum(there.values())
    if found < wanted:
        yield _fail(
            "gres-count",
            f"{place}: Gres= has {wanted} GPUs, {written} has {found} (gres/gpu count reported lower than "
            f"configured ({found} < {wanted}))",
            "slurmctld sets the node INVALID: no job runs here",
            f"{place}: {_with_count(facts.declared_gres or '', found)}",
        )
    elif found > wanted:
        yield _fail(
            "gres-count",
            f"{place}: Gres= has {wanted} GPUs, {written} has {found} (Ignoring extra GRES)",
            f"{found - wanted} GPUs are given to no job",
            f"{place}: {_with_count(facts.declared_gres or '', found)}",
        )


def _counts(gres: str) -> Counter[str]:
    """GPUs by type, "" where none is named: ``gpu:h100:8(S:0-1),shard:64``."""
    counts: Counter[str] = Counter()
    for entry in gres.split(","):
        words = entry.partition("(")[0].split(":")
        if words[0].lower() == "gpu":
            number = words[-1] if words[-1].isdigit() else "1"
            kind = words[1].lower() if len(words) > 1 and not words[1].isdigit() else ""
            counts[kind] += int(number)
    return counts


def _with_count(gres: str, count: int) -> str:
    """The site's words with another number, where there is one entry; else just the number."""
    entries = [entry for entry in gres.split(",") if entry.lower().startswith("gpu")]
    if len(entries) != 1:
        return f"Gres= with {count} GPUs together"
    words = entries[0].partition("(")[0].split(":")
    kind = words[1] if len(words) > 1 and not words[1].isdigit() else None
    return "Gres=" + ":".join(["gpu", *([kind] if kind else []), str(count)])


def _fail(check: str, what: str, cost: str, change: str) -> Finding:
    return Finding(check, "fail", what, cost, change)
