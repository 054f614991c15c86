"""Settings for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: a busy host is no bug. In CI the same examples each time, so that a change is judged
# by what it changes; everywhere else new ones.
settings.register_profile("here", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("here")
