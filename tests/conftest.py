"""Settings for all tests."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import settings

# No deadline: a busy host is no bug. In CI the same examples each time, so that a change is judged
# by what it changes; everywhere else new ones.
settings.register_profile("here", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("here")

#: These boot machines of their own, and start when the first machine has been in use for a while.
_LATER = ("tests/e2e/test_full_cache.py", "tests/e2e/test_matrix.py")


def _together(test: str) -> str:
    """Tests of a file share its fixtures; machines follow one another, as far as that is no detour."""
    file = test.partition("::")[0]
    if not file.startswith("tests/e2e/"):
        return file
    return "later machines" if file in _LATER else "machines"


def _turn(item: pytest.Item) -> int:
    file = item.nodeid.partition("::")[0]
    return 1 if file in _LATER else 2 if file.startswith("tests/unit/") else 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In an order that keeps both processes of `make test` busy."""
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What `make test` runs on two CPUs; xdist's own groups do not work with pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # noqa: PLC0415

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _together
    return scheduler
