"""An existing file with the generated lines in it; shown as a difference, never written."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional

from numa_align.errors import ConfError
from numa_align.slurm_files.conffile import ConfFile, Line, parse_conf, physical_lines
from numa_align.slurm_files.gres_lines import GresLine, core_numbers, detection, faults, gpu_lines
from numa_align.slurm_files.hostlist import HostlistError, expand, fold
from numa_align.slurm_files.node_lines import node_lines as declarations
from numa_align.slurm_files.render_nodes import with_render_nodes

from .facts import unfold
from .gres import comment
from .gres_words import entries_of, wanted_gpus
from .others import CGROUP_SETTINGS
from .slurm import NodeLine, Setting

# Words of which a list can have only one: the resources that the selector counts.
_SELECTOR = "cr_"


def difference(file: ConfFile, new: Mapping[str, str]) -> str:
    """The changes to a file and to those that it includes, as by diff -u; empty if there are none.

    ``new`` has the texts by path; a file that is not in it is unchanged.
    """
    return "".join(_unified(one, new.get(one.path, one.text)) for one in file.files)


def _unified(file: ConfFile, new: str) -> str:
    old_lines, new_lines = physical_lines(file.text), physical_lines(new)
    names = (file.path, f"{file.path} (proposed)")
    return "".join(f"{line}\n" for line in difflib.unified_diff(old_lines, new_lines, *names, lineterm=""))


class _Draft:
    """The physical lines of a file and of those it includes, in which lines are replaced."""

    def __init__(self, file: ConfFile, without: Collection[str] = ()) -> None:
        """``without``: lines to remove, wherever they are."""
        self._first = file.path
        self._physical: dict[str, list[Optional[str]]] = {
            one.path: [None if line in without else line for line in physical_lines(one.text)]
            for one in file.files
        }

    def replace(self, line: Line, new: Sequence[str]) -> None:
        """Put lines in place of a logical one."""
        physical = self._physical[line.path]
        for number in range(line.first, line.end):
            physical[number] = None
        if new:
            physical[line.first] = "\n".join(new)

    def has(self, text: str) -> bool:
        """Whether one of the files has this line: a reason that an earlier run has written."""
        return any(text in physical for physical in self._physical.values())

    def append(self, lines: Iterable[str]) -> None:
        """Add lines to the file itself, not to an included one."""
        self._physical[self._first] += lines

    def texts(self) -> dict[str, str]:
        """The texts of all files."""
        return {
            path: "\n".join([*(line for line in physical if line is not None), ""])
            for path, physical in self._physical.items()
        }


def edited_slurm(file: ConfFile, settings: Sequence[Setting], nodes: Sequence[NodeLine]) -> dict[str, str]:
    """slurm.conf with the settings and the NodeName lines; other keys of the latter are kept.

    Texts by path: a line is changed in the file that has it, new lines go to slurm.conf itself.
    """
    draft = _Draft(file)
    for setting in settings:
        lines = [line for line in file.lines if line.key == setting.key.lower()]
        if not lines:
            draft.append(["", *setting.lines()])
        elif setting.rule in ("beside", "call"):
            _add_script(draft, lines, setting)
        elif setting.rule != "keep":
            value = _merged(lines[-1].value, setting)
            if value != lines[-1].value:
                *reason, changed = replace(setting, value=value).lines()
                draft.replace(lines[-1], [*(text for text in reason if not draft.has(text)), changed])
    draft.append(_edited_nodes(file, draft, nodes))
    return draft.texts()


def _add_script(draft: _Draft, lines: Sequence[Line], setting: Setting) -> None:
    """Add our prolog or epilog beside the site's, which is kept."""
    name = Path(setting.value).name
    ours = [line for line in lines if Path(line.value).name == name]
    if ours and ours[-1].value != setting.value:
        draft.replace(ours[-1], [f"{setting.key}={setting.value}"])
    elif not ours and setting.rule == "beside":
        draft.append(["", *setting.lines()])
    elif not ours:
        text = f"{setting.key}= is yours, and this Slurm runs one only: have it call {setting.value} too."
        draft.append(["", *comment(f"{text} {setting.reason}")])


def edited_cgroup(file: ConfFile) -> dict[str, str]:
    """cgroup.conf with what should be constrained."""
    settings = [Setting(key, value, reason) for key, value, reason in CGROUP_SETTINGS]
    return edited_slurm(file, settings, ())


def edited_gres(
    file: ConfFile,
    generated: str,
    names: Iterable[str],
    others: Optional[Collection[str]] = None,
    *,
    cards: Optional[Mapping[str, str]] = None,
    types: Collection[Optional[str]] = (),
) -> dict[str, str]:
    """gres.conf with our lines instead of those about the GPUs of these nodes; other nodes keep theirs.

    A type that the site uses is kept, since jobs, QOS and accounting name it. A line ``Name=gpu`` without
    NodeName= applies to all nodes: it is only removed if ``others``, the other nodes with GPUs, are known to
    be none. Raises ConfError if other nodes would lose it. AutoDetect= for all nodes is kept, and
    our lines turn it off for their nodes. ``cards``: the render node of each /dev/dri/cardN. ``types``: those
    of slurm.conf, which apply if gres.conf has none; a type in only one of the files is a fault.
    """
    cards = cards or {}
    ours = set(names)
    found = [(line, _other_nodes(line, ours)) for line in file.lines if _about_gpus(line)]
    old = [(line, left) for line, left in found if left is not None and not _detects_for_all(line)]
    new = _with_types(generated.splitlines(), [line for line, _ in old], cards, types)
    if any(_detects_for_all(line) and not _is_off(line) for line, _ in found):
        new = _without_detection(new, ours)
    if [line.pairs for line, _ in old] == [
        line.pairs for line in parse_conf("\n".join(new), file.path, "gres.conf").lines
    ]:
        return {}
    if all(_says_the_same(file, new, name, cards) for name in ours):
        return {}
    _refuse_what_others_need(old, others)
    # Comments of an earlier run of ours would otherwise be repeated.
    draft = _Draft(file, without={line for line in new if line.startswith("#")})
    if not old:
        draft.append(["", *new])
    for position, (line, left) in enumerate(old):
        kept = [_with_pairs(left, line)] if left else []
        draft.replace(line, [*(() if position else new), *kept])
    return draft.texts()


def _says_the_same(file: ConfFile, new: Sequence[str], node: str, cards: Mapping[str, str]) -> bool:
    """Whether the file already says the same of a node's GPUs: devices, in this order, and cores.

    How the lines are divided, to which other nodes they apply, and their flags are the site's choice.
    """
    wanted = gpu_lines(parse_conf("\n".join(new), file.path, "gres.conf"), node)
    lines = with_render_nodes(gpu_lines(file, node), cards)
    if detection(lines) != detection(wanted) or not any(line.named for line in lines):
        return False
    counted = (line for line in lines if line.number is not None)
    if any(line.number != str(len(line.devices)) for line in counted) or any(faults(file)):
        return False
    return _gpus_of(lines) == _gpus_of(wanted)


def _gpus_of(lines: Sequence[GresLine]) -> list[tuple[object, ...]]:
    return [
        (device, (line.type or "").lower(), None if line.cores is None else core_numbers(line.cores))
        for line in lines
        if line.named
        for device in line.devices or ((),)
    ]


def _refuse_what_others_need(
    old: Sequence[tuple[Line, list[str]]], others: Optional[Collection[str]]
) -> None:
    shared = next((line for line, _ in old if line.get("nodename") is None), None)
    if shared is None or (others is not None and not others):
        return
    whom = f"{fold(others)} too" if others else "other nodes too, which are not known here"
    raise ConfError(
        f"{shared.place}: applies to every node, and lines for these alone would take it from {whom}: "
        "generate for all nodes with GPUs (--facts, or --node for all that are equal), or give it NodeName="
    )


def _detects_for_all(line: Line) -> bool:
    return line.get("name") is None and line.get("nodename") is None


def _is_off(line: Line) -> bool:
    return (line.get("autodetect") or "").lower() == "off"


def _without_detection(lines: Sequence[str], names: Collection[str]) -> list[str]:
    """Our lines, with AutoDetect=off for these nodes before the first record that names files."""
    first = next(
        (i for i, line in enumerate(lines) if line.startswith("NodeName=") and " File=" in line), None
    )
    if first is None:
        return list(lines)
    off = f"NodeName={fold(names)} AutoDetect=off"
    return [*lines[:first], off, *lines[first:]]


def _with_types(
    lines: Sequence[str], old: Sequence[Line], cards: Mapping[str, str], declared: Collection[Optional[str]]
) -> list[str]:
    """Our lines with the types that the site gives the same device files; without a type if it gives none."""
    types: dict[str, Optional[str]] = {}
    for line in old:
        if line.get("name") is not None and line.get("file") is not None:
            files = (cards.get(name, name) for name in _files(line.get("file") or ""))
            types.update(dict.fromkeys(files, line.get("type")))
    if len(declared) == 1 and (not types or _contradict(types.values(), next(iter(declared)))):
        ours = (file for line in lines if line.startswith("NodeName=") for file in _files(_file_of(line)))
        types = dict.fromkeys(ours, next(iter(declared)))
    if not types:
        return list(lines)
    return [_with_type(line, types) if line.startswith("NodeName=") else line for line in lines]


def _with_type(line: str, types: Mapping[str, Optional[str]]) -> str:
    words = line.split()
    wanted = {types[file] for file in _files(_file_of(line)) if file in types}
    if len(wanted) != 1:
        return line
    (one,) = wanted
    typed = (f"Type={one}" if word.startswith("Type=") else word for word in words)
    return " ".join(word for word in typed if one is not None or not word.startswith("Type="))


def _contradict(listed: Iterable[Optional[str]], declared: Optional[str]) -> bool:
    """Whether slurm.conf asks for a type and gres.conf has none, or another: the node then has no GPU."""
    found = {(kind or "").lower() for kind in listed}
    return declared is not None and len(found) == 1 and found != {declared.lower()}


def _file_of(line: str) -> str:
    """File= of a line that we generated."""
    return next((word[5:] for word in line.split() if word.startswith("File=")), "")


def _files(text: str) -> tuple[str, ...]:
    try:
        return expand(text)
    except HostlistError:
        return ()


def _about_gpus(line: Line) -> bool:
    name = line.get("name")
    return (name or "").lower() == "gpu" or (name is None and line.get("autodetect") is not None)


def _other_nodes(line: Line, ours: set[str]) -> Optional[list[str]]:
    """The nodes of a line that are not ours; None if none of ours is in it."""
    hostlist = line.get("nodename")
    if hostlist is None:
        return []
    names = unfold(hostlist)
    others = [name for name in names if name not in ours]
    return None if len(others) == len(names) else others


def _with_pairs(names: Sequence[str], line: Line) -> str:
    keys = {"file": "File", "cpus": "Cores", "autodetect": "AutoDetect", "multiplefiles": "MultipleFiles"}
    rest = (f"{keys.get(key, key.capitalize())}={value}" for key, value in line.pairs if key != "nodename")
    return " ".join([f"NodeName={fold(names)}", *rest])


def _merged(old: str, setting: Setting) -> str:
    """The value with our words; of a list, all old words are kept."""
    if setting.rule == "replace":
        same = sorted(old.lower().split(",")) == sorted(setting.value.lower().split(","))
        return old if same else setting.value
    if setting.rule == "raise":
        return old if old.isdigit() and int(old) >= int(setting.value) else setting.value
    words = [word for word in old.split(",") if word]
    if setting.rule == "names":
        kept = [word for word in words if word.lower() != setting.value]
        return old if setting.value in words else ",".join([*kept, setting.value])
    present = {word.lower() for word in words}
    stems = {word.lower().partition("=")[0] for word in words if "=" in word}
    counts = any(word.startswith(_SELECTOR) for word in present)
    for word in setting.value.split(","):
        known = word.lower() in present or word.lower().partition("=")[0] in stems
        if not known and not (counts and word.lower().startswith(_SELECTOR)):
            words.append(word)
    return ",".join(words)


def _edited_nodes(file: ConfFile, draft: _Draft, nodes: Sequence[NodeLine]) -> list[str]:
    """Change the lines of our nodes in place; returns what to add for nodes without a line."""
    found: set[str] = set()
    remarks: list[str] = []
    for line, declared in declarations(file.lines):
        names = unfold(line.value)
        mine = [(node, [name for name in names if name in node.names]) for node in nodes]
        mine = [(node, some) for node, some in mine if some]
        found.update(*(some for _, some in mine))
        if all(_agrees(declared, node) for node, _ in mine):
            continue
        rest = [name for name in names if name not in found]
        parts = [(some, {} if _agrees(declared, node) else _changes(declared, node)) for node, some in mine]
        parts += [(rest, {})] if rest else []
        try:
            draft.replace(line, [_node_text(line, names, some, values) for some, values in parts])
        except _NotDividedError as error:
            remarks += ["", *comment(f"{line.place}: {error}; divide the line by hand:")]
            remarks += [f"# {_with_names(node, some)}" for node, some in mine]
    missing = [(node, sorted(set(node.names) - found)) for node in nodes]
    missing = [(node, names) for node, names in missing if names]
    if missing and int(file.value("maxnodecount") or 0) > 0:
        return [*remarks, *_dynamic(missing)]
    return [*remarks, *(_with_names(node, names) for node, names in missing)]


def _dynamic(missing: Sequence[tuple[NodeLine, Sequence[str]]]) -> list[str]:
    """Nodes that register themselves (MaxNodeCount=, `slurmd -Z`) have no line; slurmd gets it instead."""
    lines = [
        "",
        *comment("MaxNodeCount= is set: nodes that are not declared register themselves. For slurmd there:"),
    ]
    for node, names in missing:
        values = dict(node.values)
        words = " ".join(f"{key}={values[key]}" for key in ("Gres", "Parameters") if key in values)
        lines.append(f'# {fold(names)}: slurmd -Z --conf "{words}"')
    return lines


def _with_names(node: NodeLine, names: Sequence[str]) -> str:
    return f"NodeName={fold(names)} " + " ".join(f"{key}={value}" for key, value in node.values)


def _shape(values: Mapping[str, str]) -> tuple[int, int, int, int]:
    """Sockets, cores, threads and CPUs, with Slurm's defaults, from any of the keys that give them."""

    def number(key: str, default: int) -> int:
        return int(values[key]) if values.get(key, "").isdigit() else default

    sockets = number("sockets", number("boards", 1) * number("socketsperboard", 0))
    cores, threads = number("corespersocket", 1), number("threadspercore", 1)
    cpus = number("cpus", number("procs", sockets * cores * threads))
    return sockets or cpus // (cores * threads), cores, threads, cpus


def _one_cpu_a_core(values: Mapping[str, str]) -> bool:
    """Whether CPUs= equals the cores, by which a site gives out cores, not threads (slurm.conf(5), CPUs)."""
    sockets, cores, threads, cpus = _shape(values)
    return threads > 1 and cpus == sockets * cores


def _same_shape(old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    return _shape(old) == _shape(new) or (_one_cpu_a_core(old) and _shape(old)[:3] == _shape(new)[:3])


def _agrees(old: Mapping[str, str], node: NodeLine) -> bool:
    """Whether a line says the same of a node as ours; less memory than it has may be intended."""
    new = {key.lower(): value for key, value in node.values}
    memory = int(old["realmemory"]) if old.get("realmemory", "").isdigit() else 0
    return (
        _same_shape(old, new)
        and 0 < memory <= int(new["realmemory"])
        and old.get("gres", "") == merged_gres(old.get("gres", ""), new.get("gres", ""))
        and ("parameters" not in new or new["parameters"] in old.get("parameters", ""))
    )


def merged_gres(old: str, new: str) -> str:
    """Gres= with our count of GPUs and everything else as the site has it.

    Other gres are kept (shard, mps, nvme). Types are kept too: users' --gres, QOS and AccountingStorageTRES
    name them, and if there are several, MIG profiles among them, only the site knows which GPU is which.
    """
    entries = entries_of(old)
    gpus = [entry for entry in entries if entry.for_gpus]
    wanted = wanted_gpus(new)
    total = sum(number for _, number in wanted)
    right = bool(gpus) and gpus[0].name == "gpu" and gpus[0].number == total
    if not wanted or len(gpus) > 1 or right:
        return old
    if not gpus:
        return ",".join([new, *(entry.text for entry in entries)])
    ours = ":".join(["gpu", *([gpus[0].type] if gpus[0].type else []), str(total)])
    return ",".join(ours if entry == gpus[0] else entry.text for entry in entries)


def _changes(old: Mapping[str, str], node: NodeLine) -> dict[str, str]:
    """What to write into a line: the shape if it differs, our gres within the site's, the rest."""
    values = dict(node.values)
    new = {key.lower(): value for key, value in node.values}
    if "Gres" in values or old.get("gres"):
        values["Gres"] = merged_gres(old.get("gres", ""), values.get("Gres", ""))
    if _same_shape(old, new):
        values = {key: value for key, value in values.items() if key.lower() not in _SHAPE}
    memory = old.get("realmemory", "")
    if memory.isdigit() and 0 < int(memory) <= int(new["realmemory"]):
        values.pop("RealMemory", None)
    if values.get("Gres") == old.get("gres"):
        values.pop("Gres", None)
    return values


def with_type(node: NodeLine, types: Collection[Optional[str]]) -> NodeLine:
    """The node with the one type, or none, that gres.conf gives its GPUs; with another Slurm finds none."""
    if len(types) != 1:
        return node
    (kind,) = types
    values = tuple((key, _of_type(value, kind) if key == "Gres" else value) for key, value in node.values)
    return replace(node, values=values)


def _of_type(gres: str, kind: Optional[str]) -> str:
    total = sum(number for _, number in wanted_gpus(gres))
    return ":".join(["gpu", *([kind] if kind else []), str(total)])


class _NotDividedError(Exception):
    """A key of the line has one entry per node, and cannot be divided with the names."""


#: Keys whose lists are parallel to the names of the line (slurm.conf(5)).
_ALONG = ("nodeaddr", "nodehostname", "bcastaddr", "port")


def _node_text(line: Line, all_names: Sequence[str], names: Sequence[str], values: Mapping[str, str]) -> str:
    """The line for some of its names with these values; other keys are kept."""
    shape = any(key.lower() in _SHAPE for key in values)
    ours = {key.lower() for key in values} | (_SHAPE if shape else set())
    kept = []
    for key, value in line.pairs[1:]:
        if key not in ours:
            part = _divided(key, value, all_names, names) if len(names) < len(all_names) else value
            kept.append(f"{_KEYS.get(key, key)}={_quoted(part)}")
    new = [f"{key}={value}" for key, value in values.items()]
    return " ".join([f"NodeName={fold(names)}", *new, *kept])


def _divided(key: str, value: str, all_names: Sequence[str], names: Sequence[str]) -> str:
    if key not in _ALONG or not set(value) & set("[,"):
        return value
    try:
        each = expand(value, len(all_names))
    except HostlistError:
        each = ()
    if len(each) != len(all_names):
        raise _NotDividedError(f"{_KEYS.get(key, key)}={value} does not have one entry per name")
    chosen = dict(zip(all_names, each))
    text = fold([chosen[name] for name in names])
    # Addresses belong to names by their order.
    ordered = tuple(chosen[name] for name in expand(fold(names), len(all_names)))
    return text if expand(text, len(all_names)) == ordered else ",".join(ordered)


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value


#: Keys of a NodeName line that say the same as ours in other words.
_SHAPE = {"sockets", "boards", "socketsperboard", "corespersocket", "threadspercore", "cpus", "procs"}

# Slurm ignores the case of keys, but people do not.
_NODE_KEYS = """
    NodeAddr NodeHostname CPUs Boards Sockets SocketsPerBoard CoresPerSocket ThreadsPerCore RealMemory TmpDisk
    Weight State Feature Features Gres Reason Port Procs CoreSpecCount CpuSpecList MemSpecLimit Parameters
    CpuBind BcastAddr TRESWeights Topology
"""
_KEYS = {key.lower(): key for key in _NODE_KEYS.split()}
