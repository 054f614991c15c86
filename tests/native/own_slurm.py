"""The Slurm of the site that runs these tests, in the place of Debian's.

`SLURM=/opt/slurm pytest tests/native` takes the one below that prefix, with all else that this machine has:
its munge, its Python, its C library. `SLURM_ROOT=FOLDER` names a node's image to take them from instead.
Nothing of either is written to, and the configuration that is there is not seen.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Optional

from e2e.machines import ROOT
from machine.cache import digest
from machine.image import Image

#: Where a build keeps the folder of its slurm.conf: in the library that all programs share, or in them.
_LIBRARIES = ("lib64/slurm", "lib/slurm", "lib/*/slurm-wlm", "sbin")
_CONF = re.compile(rb"(/[\w./-]+)/slurm\.conf\0")


@dataclass(frozen=True)
class OwnSlurm:
    """What SLURM= names: `prefix` and `conf`, the folder of its slurm.conf, are paths below `root`."""

    root: Path
    prefix: str
    release: str
    conf: str

    def image(self) -> Image:
        """As an image to build for and to run in; it cannot be booted."""
        inside = self.root / self.prefix.lstrip("/")
        times = [path.stat().st_mtime_ns for path in sorted(inside.glob("sbin/slurm*"))]
        key = digest(str(self.root), self.prefix, self.release, repr(times))
        nowhere = Path(os.devnull)
        return Image("own-slurm", key, self.root, nowhere, nowhere, nowhere, prefix=self.prefix)


@cache
def own_slurm() -> Optional[OwnSlurm]:
    """The site's Slurm; None where no variable names one."""
    prefix = os.environ.get("SLURM")
    if not prefix:
        return None
    root = Path(os.environ.get("SLURM_ROOT", "/"))
    inside = root / prefix.strip("/")
    said = subprocess.run(
        ["sh", ROOT / "packaging/slurm-version.sh"],
        env={**os.environ, "SLURM": str(inside)},
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode:
        raise RuntimeError(f"SLURM={prefix} below {root}: {said.stderr.strip()}")
    return OwnSlurm(root, "/" + prefix.strip("/"), said.stdout.strip(), _conf_folder(inside))


def _conf_folder(inside: Path) -> str:
    """Its sysconfdir, as it was compiled in."""
    for pattern in _LIBRARIES:
        for folder in sorted(inside.glob(pattern)):
            for name in ("libslurmfull.so", "slurmctld"):
                file = folder / name
                found = _CONF.search(file.read_bytes()) if file.is_file() else None
                if found:
                    return found[1].decode("ascii")
    return "/etc/slurm"
