"""What gres.conf says about the GPUs of one node, by Slurm's rules.

Source: _parse_gres_config, _parse_gres_config_node and _handle_autodetect_flags in src/interfaces/gres.c
(src/common/gres.c up to 22.05); each was tried with `slurmd -G` of 22.05, 24.11 and 26.05.
"""

from __future__ import annotations

from ..errors import ConfError
from ..light_typing import TYPE_CHECKING, NamedTuple
from .hostlist import MAX_NODES, HostlistError, expand, in_hostlist

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Optional

    from .conffile import ConfFile, Line

#: Keys that may begin a line of gres.conf, and that may follow Name= or NodeName= on it (_gres_options).
FIRST_KEYS = ("autodetect", "name", "nodename")
KEYS = frozenset(
    (
        *("autodetect", "count", "cores", "cpus", "file", "files", "flags", "link", "links"),
        *("multiplefiles", "name", "type", "uuid"),
    )
)
_COMMON = KEYS - {"uuid"}
#: The release that introduced a key that not all releases have: older ones do not start because of it.
NEW_KEYS = {"uuid": (26, 11)}

#: The words of AutoDetect=, in the order in which Slurm searches the value for them, each with the
#: release that introduced it: before that it is an unknown word.
DETECTORS = {
    "full": (26, 5),
    "nvml": (22, 5),
    "rsmi": (22, 5),
    "oneapi": (22, 5),
    "nrt": (23, 11),
    "nvidia": (24, 11),
}


#: Device files of AMD and Intel GPUs with their second number (see `render_nodes`).
CARD = "/dev/dri/card"


class GresLine(NamedTuple):
    """A line of gres.conf about the GPUs of a node, with its place (FILE:LINE).

    ``named``: it has Name=gpu, and not only AutoDetect=. ``for_node``: it begins with NodeName=.
    ``devices`` has the files of each device, usually one, several with MultipleFiles=. Words are in lower
    case where Slurm ignores case; ``type`` is as written, ``number`` is Count=.
    """

    place: str
    devices: tuple[tuple[str, ...], ...] = ()
    cores: Optional[str] = None
    autodetect: Optional[str] = None
    type: Optional[str] = None
    number: Optional[str] = None
    links: Optional[str] = None
    flags: Optional[str] = None
    named: bool = True
    for_node: bool = False
    multiple: bool = False
    position: int = 0

    @property
    def files(self) -> tuple[str, ...]:
        """All device files of the line."""
        return tuple(file for device in self.devices for file in device)


class Fault(NamedTuple):
    """A line that Slurm refuses; if it is ``fatal``, no slurmd starts, whichever node the line is about.

    ``key`` is the wrong key, ``what`` the reason in words; ``since`` the first release that accepts it.
    """

    place: str
    key: str
    what: str
    since: Optional[tuple[int, int]] = None
    fatal: bool = True


def gpu_lines(file: ConfFile, node: Optional[str]) -> tuple[GresLine, ...]:
    """The lines that apply to the GPUs of ``node``, in Slurm's order: those for all nodes come first.

    ``node`` None means an unknown name. Raises ConfError if there are lines for named nodes then, and for a
    malformed list.
    """
    lines = []
    for position, line in enumerate(file.lines):
        pairs = dict(line.pairs)
        about_gpus = pairs.get("name", "").lower() == "gpu"
        detects = "autodetect" in pairs and line.key != "name"
        if line.key in FIRST_KEYS and (about_gpus or detects) and holds_for(line, node):
            lines.append(_gpu_line(line, pairs, about_gpus)._replace(position=position))
    return tuple(sorted(lines, key=lambda line: line.for_node))


def holds_for(line: Line, node: Optional[str]) -> bool:
    """Whether a line applies to ``node``. Raises ConfError for one about named nodes if ``node`` is None."""
    if line.key != "nodename":
        return True
    if node is None:
        raise ConfError(f"{line.place}: there are lines for single nodes, and this node's name is not known")
    return in_hostlist(node, line.value)


def _gpu_line(line: Line, pairs: dict[str, str], about_gpus: bool) -> GresLine:
    autodetect = pairs.get("autodetect")
    settings = pairs if about_gpus else {}
    files, several = settings.get("file", settings.get("files")), settings.get("multiplefiles")
    try:
        devices: tuple[tuple[str, ...], ...] = tuple((one,) for one in expand(files or ""))
        devices = (expand(several),) if several is not None else devices
    except HostlistError as error:
        raise ConfError(f"{line.place}: {error}") from None
    return GresLine(
        line.place,
        devices,
        settings.get("cores", settings.get("cpus")),
        None if autodetect is None else autodetect.lower(),
        settings.get("type"),
        settings.get("count"),
        settings.get("link", settings.get("links")),
        settings.get("flags"),
        about_gpus,
        line.key == "nodename",
        several is not None,
    )


def faults(file: ConfFile) -> Iterator[Fault]:
    """Lines that are wrong on any node: slurmd also reads those of other nodes."""
    for line in file.lines:
        first, *others = [key for key, _ in line.pairs]
        if first == "nodename":
            yield from _no_list(line)
        if first in ("name", "nodename") and "name" in (first, *others) and _COMMON.issuperset(others):
            continue
        if first not in FIRST_KEYS:
            yield Fault(line.place, first, "it cannot begin a line: AutoDetect=, Name= or NodeName= does")
        elif first == "autodetect" and others:
            yield Fault(line.place, others[0], "nothing can stand behind AutoDetect= that begins a line")
        else:
            yield from _unknown(line.place, others)
            if first == "nodename" and "name" not in others and "autodetect" not in others:
                yield Fault(line.place, "name", "without it the line is ignored", fatal=False)


def _no_list(line: Line) -> Iterator[Fault]:
    try:
        expand(line.value, MAX_NODES)
    except HostlistError as error:
        yield Fault(line.place, "nodename", str(error), fatal=False)


def _unknown(place: str, keys: Sequence[str]) -> Iterator[Fault]:
    for key in keys:
        if key == "nodename":
            yield Fault(place, key, "it has to begin the line")
        elif key not in KEYS:
            yield Fault(place, key, "no release knows it")
        elif key in NEW_KEYS:
            release = NEW_KEYS[key]
            yield Fault(place, key, "it came with {}.{:02d}".format(*release), release)


def detector(value: str, release: Optional[tuple[int, int]] = None) -> Optional[str]:
    """The word that Slurm finds in a value of AutoDetect=, ``off`` for off; None if it knows none of them.

    ``release`` None: the newest.
    """
    text = value.lower()
    found = (word for word, since in DETECTORS.items() if word in text and (release or since) >= since)
    return next(found, "off" if text == "off" else None)


def detection(lines: Sequence[GresLine], release: Optional[tuple[int, int]] = None) -> str:
    """The AutoDetect= that applies to these lines of a node: a word of `DETECTORS`, or ``off``.

    A node's own setting wins over the one for all. On a line that begins with Name= Slurm ignores it.
    """
    own = [line.autodetect for line in lines if line.autodetect and line.for_node]
    everyone = [line.autodetect for line in lines if line.autodetect and not (line.for_node or line.named)]
    words = (detector(values[-1], release) for values in (own, everyone) if values)
    return next((word for word in words if word is not None), "off")


def core_numbers(text: str) -> Optional[tuple[int, ...]]:
    """The numbers of a Cores= list, ascending; None if Slurm would not accept it.

    Brackets around it are ignored; ``0-46:2`` counts in steps and excludes the end (bitfmt2int in
    src/common/bitstring.c).
    """
    inner = text.strip().removeprefix("[").removesuffix("]")
    bounds, colon, step = inner.partition(":")
    numbers: set[int] = set()
    for part in [bounds] if colon else inner.split(","):
        low, dash, high = part.strip().partition("-")
        if (
            not _is_number(low)
            or (dash and not _is_number(high))
            or (colon and not (dash and _is_number(step)))
        ):
            return None
        first, last = int(low), int(high if dash else low)
        if last < first or (colon and int(step) == 0):
            return None
        numbers.update(range(first, last, int(step)) if colon else range(first, last + 1))
    return tuple(sorted(numbers))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6
