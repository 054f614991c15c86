"""The cases of sites' files that lie beside the checkout: each has a program that makes its machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT.parent / "shared/cases"

needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside this checkout")


def machine_of(case: str, folder: Path) -> Path:
    """The sysfs tree of a case, below ``folder``."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'prolog'}"}
    root = folder / "machine"
    subprocess.run([sys.executable, str(CASES / case / "build.py"), str(root)], check=True, env=environment)
    return root
