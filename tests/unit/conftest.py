"""What several test modules need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from builder.recorded import VARIABLE, archive, unpacked

pytest.register_assert_rewrite("unit.promises")


@pytest.fixture(scope="session")
def recorded() -> Iterator[Path]:
    """The folder with all recorded machines."""
    if not archive().is_file():
        pytest.skip(f"no recorded machines at {archive()} (set {VARIABLE})")
    with unpacked() as folder:
        yield folder
