"""Where this machine's Slurm is: its programs and its slurm.conf.

sudo's secure_path does not have /opt/slurm/bin, and most sites install Slurm below a prefix of its own, so
PATH alone does not find it. The best evidence is what runs here: slurmd's own executable and command line.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from numa_align.slurm_files import which_conf
from numa_align.slurm_files.which_conf import running_slurmd
from numa_align.sysfs import Tree

#: Prefixes to search for Slurm if neither SLURM=, slurmd nor PATH leads to it.
USUAL_PREFIXES = ("/usr", "/usr/local", "/opt/slurm", "/cm/shared/apps/slurm/current")


def prefixes() -> Iterator[Path]:
    """Where Slurm may be installed, the most certain first: SLURM=, as for make, then the running slurmd."""
    if os.environ.get("SLURM"):
        yield Path(os.environ["SLURM"])
    running = running_slurmd()
    if running is not None and running.executable is not None:
        yield Path(running.executable).parent.parent


def command(name: str) -> Optional[str]:
    """The path of one of Slurm's programs; None if it is not found."""
    found = (_executable(prefix, name) for prefix in prefixes())
    usual = (_executable(Path(prefix), name) for prefix in USUAL_PREFIXES)
    return next(filter(None, found), None) or shutil.which(name) or next(filter(None, usual), None)


def _executable(prefix: Path, name: str) -> Optional[str]:
    paths = (prefix / folder / name for folder in ("bin", "sbin"))
    return next((str(path) for path in paths if path.is_file() and os.access(path, os.X_OK)), None)


def slurm_conf() -> Optional[Path]:
    """The slurm.conf that this machine's Slurm reads; None if there is none (see `which_conf`)."""
    named = os.environ.get("SLURM_CONF")
    if named:
        return Path(named)
    found = which_conf.slurm_conf(Tree("/"), None, [str(prefix) for prefix in prefixes()])
    return None if found is None else Path(found)
