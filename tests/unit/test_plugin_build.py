"""The plugin as a shared object: builds without a warning, and shows Slurm only what Slurm looks up."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SPANK = Path(__file__).resolve().parents[2] / "spank"

#: What spank(7) names: the three of SPANK_PLUGIN, its version, and the hooks that we have.
LOOKED_UP = {
    "plugin_name",
    "plugin_type",
    "plugin_version",
    "spank_plugin_version",
    "slurm_spank_init",
    "slurm_spank_user_init",
    "slurm_spank_task_init",
}

#: Threads, processes and programs have no place in slurmstepd (DESIGN, rule 1).
FORBIDDEN = {"fork", "vfork", "execve", "execv", "execvp", "popen", "system", "pthread_create", "posix_spawn"}


def symbols(library: Path, *options: str) -> set[str]:
    lines = subprocess.run(
        ["nm", "-D", *options, str(library)], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return {line.split()[-1].partition("@")[0] for line in lines}


@pytest.fixture(scope="module", params=["gcc", "clang"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(str(request.param))
    environment = {name: value for name, value in os.environ.items() if name not in ("CFLAGS", "CPPFLAGS")}
    made = subprocess.run(
        ["make", "-C", str(SPANK), f"CC={request.param}", f"B={folder}"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert "warning" not in made.stderr
    return folder / "numa-align.so"


def test_only_what_slurm_looks_up_is_exported(library: Path) -> None:
    assert symbols(library, "--defined-only") == LOOKED_UP


def test_nothing_that_starts_a_process_or_thread_is_called(library: Path) -> None:
    called = symbols(library, "--undefined-only")
    assert "syscall" in called
    assert not called & FORBIDDEN
