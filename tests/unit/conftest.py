"""What several test modules need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from builder.recorded import unpacked

pytest.register_assert_rewrite("unit.promises")


@pytest.fixture(scope="session")
def recorded() -> Iterator[Path]:
    """The folder with all machines: our own, and the recorded ones where they are."""
    with unpacked() as folder:
        yield folder
