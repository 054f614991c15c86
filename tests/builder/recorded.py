"""Whole machines for a test session: the archive of recorded ones, if it exists, and our own.

Nothing of the archive is in this repository.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .own import write_all

#: Names the archive if it is not in its usual place beside the repository.
VARIABLE = "NUMA_ALIGN_TOPOLOGIES"

_USUAL = Path(__file__).parents[2] / "../shared/topologies/dev.tar.xz"


def archive() -> Path:
    """Where the archive is, or would be."""
    return Path(os.environ.get(VARIABLE, _USUAL))


def is_complete() -> bool:
    """Whether the recorded machines are available, and not only our own."""
    return archive().is_file()


def at_least(recorded: int, own: int) -> int:
    """How many machines a test must have seen, so that it does not pass by seeing none."""
    return recorded if is_complete() else own


def _unpack(folder: Path) -> None:
    """tar is several times faster with a quarter of a million files than its Python twin."""
    subprocess.run(["tar", "-xJf", archive(), "-C", folder], check=True)


@contextmanager
def unpacked() -> Iterator[Path]:
    """A folder with our own machines and the whole archive, which nobody may write to: it is kept, unpacked.

    It has a gigabyte in a quarter of a million files: unpacking and removing them took minutes of a run.
    """
    from machine.cache import Cache, digest  # noqa: PLC0415 - that package needs QEMU's library, and this one nothing

    with tempfile.TemporaryDirectory(prefix="recorded-") as name:
        folder = Path(name)
        write_all(folder / "own")
        if is_complete():
            key = digest(archive().read_bytes().hex())
            for kind in Cache().entry("recorded", key, _unpack).iterdir():
                (folder / kind.name).symlink_to(kind)
        yield folder


def answered(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Each machine's root that has an answer, with the file that has it."""
    for answer in sorted(folder.glob("*/*.expected.json")):
        yield answer.with_name(answer.name[: -len(".expected.json")]), answer


def unanswered(folder: Path) -> Iterator[Path]:
    """The roots of the raw dumps, which are as deep as they were recorded."""
    for kind in ("hwloc-linux", "other-sysfs"):
        for cpus in sorted((folder / kind).glob("**/sys/devices/system/cpu")):
            yield cpus.parents[3]
