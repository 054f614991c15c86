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


def _together(test: str) -> str:
    """Tests of a file share its fixtures; two machines at once are slower than one after the other."""
    file = test.partition("::")[0]
    return "machine" if file.startswith("tests/e2e/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What `make test` runs on two CPUs; xdist's own groups do not work with pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # noqa: PLC0415

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _together
    return scheduler
