"""Where this machine's Slurm is: its programs and its slurm.conf.

sudo's secure_path has no /opt/slurm/bin, and most sites install Slurm below a prefix of its own, so that PATH
alone does not find it. What runs here is the best witness: slurmd's own executable and command line.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from numa_align.slurm_files.gres_index import USUAL_FOLDERS

#: Prefixes below which Slurm is where neither SLURM=, slurmd nor PATH says it.
USUAL_PREFIXES = ("/usr", "/usr/local", "/opt/slurm", "/cm/shared/apps/slurm/current")

#: Where slurmd keeps the files that slurmctld gives it ("configless").
CONFIGLESS = "/run/slurm/conf/slurm.conf"


class Running(NamedTuple):
    """The slurmd of this machine: its executable and its words; either may be hidden from other users."""

    executable: Optional[str]
    words: tuple[str, ...]


def running_slurmd(proc: Path = Path("/proc")) -> Optional[Running]:
    """The slurmd that runs here; None if none does. One in a container is none of this machine's."""
    for comm in sorted(proc.glob("[0-9]*/comm")):
        try:
            if comm.read_text(encoding="utf-8", errors="replace").strip() != "slurmd":
                continue
            words = (comm.parent / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has ended
        if _link(comm.parent / "ns/mnt") not in (None, _link(proc / "self/ns/mnt")):
            continue
        executable = _link(comm.parent / "exe") or (words[0] if words[0].startswith("/") else None)
        return Running(executable, tuple(words[1:]))
    return None


def _link(path: Path) -> Optional[str]:
    try:
        return os.readlink(path)  # noqa: PTH115 (what /proc says is no path that exists everywhere)
    except OSError:
        return None


def prefixes() -> Iterator[Path]:
    """Where Slurm may be installed, the surest first: SLURM=, as for make, then the slurmd that runs."""
    if os.environ.get("SLURM"):
        yield Path(os.environ["SLURM"])
    running = running_slurmd()
    if running is not None and running.executable is not None:
        yield Path(running.executable).parent.parent


def command(name: str) -> Optional[str]:
    """The path of a program of Slurm's; None if it is nowhere."""
    found = (_executable(prefix, name) for prefix in prefixes())
    usual = (_executable(Path(prefix), name) for prefix in USUAL_PREFIXES)
    return next(filter(None, found), None) or shutil.which(name) or next(filter(None, usual), None)


def _executable(prefix: Path, name: str) -> Optional[str]:
    paths = (prefix / folder / name for folder in ("bin", "sbin"))
    return next((str(path) for path in paths if path.is_file() and os.access(path, os.X_OK)), None)


def slurm_conf() -> Optional[Path]:
    """The slurm.conf that this machine's Slurm reads; None if there is none.

    In this order: SLURM_CONF; the one of the slurmd that runs; the sysconfdir of its prefix, or of SLURM=; as
    packages have it.
    """
    named = os.environ.get("SLURM_CONF")
    if named:
        return Path(named)
    running = running_slurmd()
    words = () if running is None else running.words
    told = conf_of(words)
    candidates = [Path(told)] if told else []
    for prefix in prefixes():
        candidates += [prefix / "etc/slurm.conf", prefix / "etc/slurm/slurm.conf"]
    candidates += [Path("/", folder, "slurm.conf") for folder in (*USUAL_FOLDERS, "opt/slurm/etc")]
    return next((path for path in candidates if path.is_file()), None)


def conf_of(words: Sequence[str]) -> Optional[str]:
    """Which slurm.conf slurmd's command line says; None if none (slurmd(8), -f, --conf-server).

    With --conf-server a file that was left in /etc/slurm does not count.
    """
    for word, following in zip(words, (*words[1:], "")):
        if word == "-f":
            return following
        if word.startswith("-f") and len(word) > 2:
            return word[2:]
        if word.startswith("--conf-server"):
            return CONFIGLESS
    return None


def is_copy(path: Path) -> bool:
    """Whether a file is what slurmd was given by slurmctld: to change it there is in vain."""
    folder = path.parent
    return folder == Path(CONFIGLESS).parent or "conf-cache" in (folder.name, folder.resolve().name)
