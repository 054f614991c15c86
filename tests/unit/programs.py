"""Programs that tests put in the place of others."""

from __future__ import annotations

from pathlib import Path


def program(path: Path, text: str) -> Path:
    """An executable file with this text, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path
