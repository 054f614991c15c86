"""The C code under fuzzers and sanitizers, for a bounded time.

NUMA_ALIGN_FUZZ_SECONDS sets how long each fuzzer runs (20).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
SECONDS = os.environ.get("NUMA_ALIGN_FUZZ_SECONDS", "20")

#: Tests that drive the compiled claim from Python.
DRIVERS = ("test_claim_properties.py", "test_claim_step.py", "test_claim_golden.py", "test_spec.py",
           "test_table_text.py")  # fmt: skip


def make(*arguments: str) -> None:
    command = ["make", "-C", str(HERE), f"PYTHON={sys.executable}", *arguments]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]


def missing_fuzzer() -> str:
    """Why nothing can be fuzzed here, "" if it can."""
    if shutil.which("clang") is None:
        return "clang is not installed; install the packages clang and libclang-rt-dev to fuzz"
    probe = "int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return !d && n; }"
    command = ["clang", "-x", "c", "-fsanitize=fuzzer,address", "-o", "/dev/null", "-"]
    if subprocess.run(command, input=probe.encode(), check=False, capture_output=True).returncode:
        return "clang has no libFuzzer here; install the package libclang-rt-dev of its version to fuzz"
    return ""


@pytest.mark.fuzz
@pytest.mark.parametrize("fuzzer", ["table", "spec", "place"])
def test_fuzzer_finds_nothing(fuzzer: str) -> None:
    if reason := missing_fuzzer():
        pytest.skip(reason)
    make(f"run-{fuzzer}", f"SECONDS={SECONDS}")


def runtime() -> str:
    """gcc's ASan runtime, which has to be loaded before Python; "" if there is none."""
    if shutil.which("gcc") is None:
        return ""
    command = ["gcc", "-print-file-name=libasan.so"]
    path = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return path if Path(path).is_absolute() else ""


@pytest.mark.sanitize
def test_properties_hold_under_sanitizers() -> None:
    preload = runtime()
    if not preload:
        pytest.skip("gcc or its libasan is not installed; the claim is not run under sanitizers")
    make("module")
    (module,) = (HERE / "build/module/numa_align").glob("_claim*.so")
    environment = {
        **os.environ,
        "NUMA_ALIGN_CLAIM": str(module),
        "LD_PRELOAD": preload,
        # Python itself leaks on purpose; what the C code allocates is freed before it returns.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    # -s: a sanitizer aborts, and what pytest had captured would be lost with the report.
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "claim_module", "-p", "no:cacheprovider"]
    tests = [str(REPOSITORY / "tests/unit" / name) for name in DRIVERS]
    result = subprocess.run(
        [*command, *tests], cwd=REPOSITORY, env={**environment, "PYTHONPATH": str(REPOSITORY / "tests")},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, (result.stdout + result.stderr)[-6000:]
