"""The plugin as a shared object: builds without a warning, and shows Slurm only what Slurm looks up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from numa_align_conf.elf import built_for

SPANK = Path(__file__).resolve().parents[2] / "spank"

#: What spank(7) names: the three of SPANK_PLUGIN, its version, and the hooks that we have.
LOOKED_UP = {
    "plugin_name",
    "plugin_type",
    "plugin_version",
    "spank_plugin_version",
    "slurm_spank_init",
    "slurm_spank_init_post_opt",
    "slurm_spank_user_init",
    "slurm_spank_task_init",
}

#: Threads, processes and programs have no place in slurmstepd (docs/plugin.md).
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
        ["make", "-C", str(SPANK), f"CC={request.param}", f"B={folder}", "WERROR=-Werror"],
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


# -- A Slurm that is installed elsewhere -----------------------------------------------------


def build(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The plugin, built below ``folder`` with the compiler's own path for headers."""
    command = ["make", "-C", str(SPANK), f"B={folder / 'out'}", "WERROR=-Werror", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The prefix of a Slurm 23.02, whose headers are the installed ones with another version number."""
    headers = tmp_path / "opt/slurm/include/slurm"
    shutil.copytree("/usr/include/slurm", headers)
    version = headers / "slurm_version.h"
    version.write_text(
        re.sub(r"(SLURM_VERSION_NUMBER\s+)0x\w+", r"\g<1>0x170200", version.read_text(encoding="utf-8")),
        encoding="utf-8",
    )
    return tmp_path / "opt/slurm"


def test_the_headers_below_a_prefix_are_the_ones_built_against(elsewhere: Path, tmp_path: Path) -> None:
    made = build(tmp_path, f"SLURM={elsewhere}")
    assert made.returncode == 0, made.stderr
    assert built_for(tmp_path / "out/numa-align.so") == (23, 2)
    script = SPANK.parent / "packaging/slurm-version.sh"
    environment = {**os.environ, "SLURM": str(elsewhere)}
    said = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=True, env=environment)
    assert said.stdout == "23.02\n"


def test_a_prefix_without_headers_is_one_line_and_no_build(tmp_path: Path) -> None:
    made = build(tmp_path, f"SLURM={tmp_path}")
    assert made.returncode != 0
    assert f"there is no {tmp_path}/include/slurm/spank.h" in made.stderr
    assert not (tmp_path / "out/numa-align.so").exists()


@pytest.mark.parametrize(
    "flags", ["CFLAGS=-O1", "CPPFLAGS=-DSITE=1", "CPPFLAGS=-D_FORTIFY_SOURCE=3", "LDFLAGS=-Wl,--as-needed"]
)
def test_flags_of_the_one_who_builds_are_added(flags: str, tmp_path: Path) -> None:
    made = build(tmp_path, flags)
    assert made.returncode == 0, made.stderr
    assert flags.partition("=")[2] in made.stdout
    assert "-D_GNU_SOURCE" in made.stdout and "-fPIC" in made.stdout
    assert symbols(tmp_path / "out/numa-align.so", "--defined-only") == LOOKED_UP
