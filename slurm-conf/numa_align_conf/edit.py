"""What an existing file would be with the generated lines in it; shown as a difference, never written."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Optional

from numa_align.errors import ConfError
from numa_align.slurm_files.conffile import ConfFile, Line, parse_conf

from .facts import fold, unfold
from .gres import comment
from .others import CGROUP_SETTINGS
from .slurm import NodeLine, Setting

# Words of which only one can be in a list: what resources the selector counts.
_SELECTOR = "cr_"


def difference(file: ConfFile, new: Mapping[Path, str]) -> str:
    """What would change in a file and those that it includes, as diff -u prints it; empty if nothing would.

    ``new`` has the texts by path; a file that is not in it stays.
    """
    return "".join(_unified(one, new.get(one.path, one.text)) for one in file.files)


def _unified(file: ConfFile, new: str) -> str:
    name = str(file.path)
    old_lines, new_lines = file.text.splitlines(), new.splitlines()
    return "".join(
        f"{line}\n"
        for line in difflib.unified_diff(old_lines, new_lines, name, f"{name} (proposed)", lineterm="")
    )


class _Draft:
    """The physical lines of a file and of those it includes, while lines of them are replaced."""

    def __init__(self, file: ConfFile, without: Collection[str] = ()) -> None:
        """``without``: lines that are to go, wherever they stand."""
        self._first = file.path
        self._physical: dict[Path, list[Optional[str]]] = {
            one.path: [None if line in without else line for line in one.text.splitlines()]
            for one in file.files
        }

    def replace(self, line: Line, new: Sequence[str]) -> None:
        """Put lines in the place of a logical one."""
        physical = self._physical[line.path]
        for number in range(line.first, line.end):
            physical[number] = None
        if new:
            physical[line.first] = "\n".join(new)

    def append(self, lines: Iterable[str]) -> None:
        """Add lines to the file itself, not to an included one."""
        self._physical[self._first] += lines

    def texts(self) -> dict[Path, str]:
        """The texts of all files."""
        return {
            path: "\n".join([*(line for line in physical if line is not None), ""])
            for path, physical in self._physical.items()
        }


def edited_slurm(file: ConfFile, settings: Sequence[Setting], nodes: Sequence[NodeLine]) -> dict[Path, str]:
    """slurm.conf with the settings and the NodeName lines; keys that are not ours stay on the latter.

    Texts by path: a line is changed in the file where it stands, what is new comes into slurm.conf itself.
    """
    draft = _Draft(file)
    for setting in settings:
        lines = [line for line in file.lines if line.key == setting.key.lower()]
        if not lines:
            draft.append(["", *setting.lines()])
        elif setting.rule in ("beside", "call"):
            _add_script(draft, lines, setting)
        elif setting.rule != "keep":
            value = _merged(lines[-1].pairs[0][1], setting)
            if value != lines[-1].pairs[0][1]:
                draft.replace(lines[-1], [f"{setting.key}={value}"])
    draft.append(_edited_nodes(file, draft, nodes))
    return draft.texts()


def _add_script(draft: _Draft, lines: Sequence[Line], setting: Setting) -> None:
    """Our prolog or epilog beside the site's, which stays."""
    name = Path(setting.value).name
    ours = [line for line in lines if Path(line.pairs[0][1]).name == name]
    if ours and ours[-1].pairs[0][1] != setting.value:
        draft.replace(ours[-1], [f"{setting.key}={setting.value}"])
    elif not ours and setting.rule == "beside":
        draft.append(["", *setting.lines()])
    elif not ours:
        text = f"{setting.key}= is yours, and this Slurm runs one only: have it call {setting.value} too."
        draft.append(["", *comment(f"{text} {setting.reason}")])


def edited_cgroup(file: ConfFile) -> dict[Path, str]:
    """cgroup.conf with what is to be constrained."""
    settings = [Setting(key, value, reason) for key, value, reason in CGROUP_SETTINGS]
    return edited_slurm(file, settings, ())


def edited_gres(file: ConfFile, generated: str, names: Iterable[str]) -> dict[Path, str]:
    """gres.conf with our lines in place of those about the GPUs of these nodes; other nodes keep theirs.

    Lines without NodeName= hold for all nodes, ours among them, and go.
    """
    ours = set(names)
    new = generated.splitlines()
    found = [(line, _other_nodes(line, ours)) for line in file.lines if _about_gpus(line)]
    old = [(line, others) for line, others in found if others is not None]
    if [line.pairs for line, _ in old] == [
        line.pairs for line in parse_conf(generated, file.path, "gres.conf").lines
    ]:
        return {}
    # Comments of an earlier run of ours would be there twice.
    draft = _Draft(file, without={line for line in new if line.startswith("#")})
    if not old:
        draft.append(["", *new])
    for position, (line, others) in enumerate(old):
        kept = [_with_pairs(others, line)] if others else []
        draft.replace(line, [*(() if position else new), *kept])
    return draft.texts()


def _about_gpus(line: Line) -> bool:
    name = line.get("name")
    return name == "gpu" or (name is None and line.get("autodetect") is not None)


def _other_nodes(line: Line, ours: set[str]) -> Optional[list[str]]:
    """Nodes of a line that are not ours; None if none of ours is in it."""
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
    """The value with our words; of a list all old words stay."""
    if setting.rule == "replace":
        same = sorted(old.lower().split(",")) == sorted(setting.value.lower().split(","))
        return old if same else setting.value
    words = [word for word in old.split(",") if word]
    present = {word.lower() for word in words}
    stems = {word.lower().partition("=")[0] for word in words if "=" in word}
    counts = any(word.startswith(_SELECTOR) for word in present)
    for word in setting.value.split(","):
        known = word.lower() in present or word.lower().partition("=")[0] in stems
        if not known and not (counts and word.lower().startswith(_SELECTOR)):
            words.append(word)
    return ",".join(words)


#: Keys of a NodeName line that say the same as ours in other words.
_SHAPE = {"sockets", "boards", "socketsperboard", "corespersocket", "threadspercore", "cpus", "procs"}


def _edited_nodes(file: ConfFile, draft: _Draft, nodes: Sequence[NodeLine]) -> list[str]:
    """Change the lines of our nodes in place; what is to be added for nodes that no line has."""
    found: set[str] = set()
    for line in file.lines:
        if line.key != "nodename" or line.pairs[0][1].lower() == "default":
            continue
        names = set(unfold(line.pairs[0][1]))
        mine = [(node, sorted(names.intersection(node.names))) for node in nodes]
        mine = [(node, some) for node, some in mine if some]
        found.update(*(some for _, some in mine))
        if all(_agrees(line, node) for node, _ in mine):
            continue
        new = [
            _node_text(line, some, {} if _agrees(line, node) else dict(node.values)) for node, some in mine
        ]
        rest = sorted(names.difference(found))
        new += [_node_text(line, rest, {})] if rest else []
        if len(new) > 1 and any(set(line.get(key) or "") & set("[,") for key in ("nodeaddr", "nodehostname")):
            raise ConfError(
                f"{line.place}: names addresses of nodes that are to differ; divide the line by hand"
            )
        draft.replace(line, new)
    missing = [(node, sorted(set(node.names) - found)) for node in nodes]
    return [_with_names(node, names) for node, names in missing if names]


def _with_names(node: NodeLine, names: Sequence[str]) -> str:
    return f"NodeName={fold(names)} " + " ".join(f"{key}={value}" for key, value in node.values)


def _shape(values: Mapping[str, str]) -> tuple[int, int, int, int]:
    """Sockets, cores, threads and CPUs, with Slurm's defaults, whichever words say it."""

    def number(key: str, default: int) -> int:
        return int(values[key]) if values.get(key, "").isdigit() else default

    sockets = number("sockets", number("boards", 1) * number("socketsperboard", 0))
    cores, threads = number("corespersocket", 1), number("threadspercore", 1)
    cpus = number("cpus", number("procs", sockets * cores * threads))
    return sockets or cpus // (cores * threads), cores, threads, cpus


def _agrees(line: Line, node: NodeLine) -> bool:
    """Whether a line says of a node what ours says; less memory than there is may be meant."""
    old = dict(line.pairs)
    new = {key.lower(): value for key, value in node.values}
    memory = int(old["realmemory"]) if old.get("realmemory", "").isdigit() else 0
    return (
        _shape(old) == _shape(new)
        and 0 < memory <= int(new["realmemory"])
        and old.get("gres", "") == new.get("gres", "")
        and ("parameters" not in new or new["parameters"] in old.get("parameters", ""))
    )


def _node_text(line: Line, names: Sequence[str], values: Mapping[str, str]) -> str:
    """The line for these names with these values; other keys stay."""
    ours = {key.lower() for key in values} | (_SHAPE if values else set())
    kept = [f"{_KEYS.get(key, key)}={_quoted(value)}" for key, value in line.pairs[1:] if key not in ours]
    new = [f"{key}={value}" for key, value in values.items()]
    return " ".join([f"NodeName={fold(names)}", *new, *kept])


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value


# Slurm does not care for the case of keys; people do.
_NODE_KEYS = """
    NodeAddr NodeHostname CPUs Boards Sockets SocketsPerBoard CoresPerSocket ThreadsPerCore RealMemory TmpDisk
    Weight State Feature Features Gres Reason Port Procs CoreSpecCount CpuSpecList MemSpecLimit Parameters
    CpuBind BcastAddr TRESWeights Topology
"""
_KEYS = {key.lower(): key for key in _NODE_KEYS.split()}
