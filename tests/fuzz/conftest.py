"""Markers of the tests in this folder."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Called when pytest comes to this folder, before it reads a test of it."""
    config.addinivalue_line("markers", "fuzz: runs a fuzzer for a bounded time (needs clang)")
    config.addinivalue_line("markers", "sanitize: runs other tests with ASan and UBSan (needs gcc's runtime)")
