"""A pytest plugin (``-p claim_module``) that tests another build of the claim than the installed one.

NUMA_ALIGN_CLAIM names the compiled module, for example one with sanitizers.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys


def _use(path: str) -> None:
    name = "numa_align._claim"
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules[name] = module


if os.environ.get("NUMA_ALIGN_CLAIM"):
    _use(os.environ["NUMA_ALIGN_CLAIM"])
