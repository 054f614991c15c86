"""What gres.conf has for a node besides GPUs."""

from __future__ import annotations

from typing import NamedTuple, Optional

from numa_align.errors import ConfError
from numa_align.slurm_files.conffile import ConfFile, Line
from numa_align.slurm_files.gres_lines import FIRST_KEYS, holds_for
from numa_align.slurm_files.hostlist import HostlistError, expand
from numa_align.sysfs import to_number


class OtherGres(NamedTuple):
    """A gres that is no gpu (shard, mps, nic): the place of its first line, and how many its lines have.

    ``number`` is None where a Count= is no number.
    """

    name: str
    place: str
    number: Optional[int]


def other_gres(file: ConfFile, node: str) -> tuple[OtherGres, ...]:
    """What lines for this node have besides GPUs, in order. Raises ConfError for a list that is none."""
    found: dict[str, OtherGres] = {}
    for line in file.lines:
        name = line.get("name")
        if line.key not in FIRST_KEYS or name is None or name.lower() == "gpu" or not holds_for(line, node):
            continue
        before = found.get(name, OtherGres(name, line.place, 0))
        number = _number(line)
        total = None if before.number is None or number is None else before.number + number
        found[name] = before._replace(number=total)
    return tuple(found.values())


def _number(line: Line) -> Optional[int]:
    """Count=, else the number of files, else one; None for a number with a suffix or what is none."""
    count, files = line.get("count"), line.get("file") or line.get("files")
    if count is not None:
        return to_number(count)
    try:
        return len(expand(files)) if files else 1
    except HostlistError as error:
        raise ConfError(f"{line.place}: {error}") from None
