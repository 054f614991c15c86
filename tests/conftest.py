"""What holds for all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# No deadline: a busy host is no bug. In CI the same examples each time, so that a change is judged
# by what it changes; everywhere else new ones.
settings.register_profile("here", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("here")


#: Tests that share something which takes long to start, or a GiB of memory: never two of a kind at once.
_GROUPS = ("machine", "launchers", "native")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs beside what with `pytest -n 2 --dist loadgroup`: one process has all tests of a group."""
    for item in items:
        for name in _GROUPS:
            if item.get_closest_marker(name) is not None:
                item.add_marker(pytest.mark.xdist_group(name))
                break
