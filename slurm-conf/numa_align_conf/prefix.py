"""Where this program is installed, for the paths that generators write and doctor advises."""

from __future__ import annotations

import os
from pathlib import Path


def installed_prefix() -> str:
    """PREFIX of `make install`, if this runs from there (PREFIX/lib/numa-align/python/numa_align_conf)."""
    place = Path(os.path.realpath(__file__)).parents
    return str(place[4]) if len(place) > 4 and place[2].name == "numa-align" else "/usr"
