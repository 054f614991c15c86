"""click's runner of commands for tests that read stderr."""

from __future__ import annotations

import inspect
from typing import Any

from click.testing import CliRunner


def runner() -> CliRunner:
    """One that keeps stderr apart; before click 8.2, which needs Python 3.10, it has to be told."""
    told: dict[str, Any] = {"mix_stderr": False}
    return CliRunner(**told) if "mix_stderr" in inspect.signature(CliRunner).parameters else CliRunner()
