"""`make wheel`: one file for every Python from 3.9 on, and sources that need nothing but a compiler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Optional

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
SOURCES = (
    "LICENSE", "MANIFEST.in", "Makefile", "README.md", "docs", "packaging", "prolog", "pyproject.toml",
    "setup.py", "slurm-conf", "spank",
)  # fmt: skip

#: The second half of the machine, by the kernel's word.
USE = """
import json, os
import numa_align
numa_align.bind_local_rank(1, 2)
print(json.dumps([sorted(os.sched_getaffinity(0)), numa_align.__file__]))
"""


def python_of(version: str) -> Optional[str]:
    """A Python that is not a virtual environment's: of PATH, or one that pyenv has built."""
    found = shutil.which(f"python{version}", path="/usr/bin:/usr/local/bin")
    pyenv = sorted(
        Path(os.environ.get("PYENV_ROOT", "/root/.pyenv")).glob(f"versions/{version}.*/bin/python3")
    )
    return found or (str(pyenv[-1]) if pyenv else None)


def call(*words: object) -> str:
    foreign = ("NUMA_", "PYTHONPATH", "LOCAL_", "SLURM_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    command = [str(word) for word in words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel") / "numa-align"
    folder.mkdir()
    ignored = shutil.ignore_patterns("build", "__pycache__", "*.so", "*.egg-info")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    call("make", "-C", folder, "wheel")
    return folder / "build/packages"


def install(python: str, folder: Path, package: Path) -> Path:
    """The Python of a new environment with the package and what it needs to bind."""
    call(python, "-m", "venv", folder)
    call(folder / "bin/pip", "install", "--quiet", "--no-deps", package)
    call(folder / "bin/pip", "install", "--quiet", "cffi", "click")
    return folder / "bin/python"


def test_the_wheel_is_for_every_python_and_linux(packages: Path) -> None:
    (wheel,) = packages.glob("*.whl")
    assert "-cp39-abi3-" in wheel.name and "manylinux_2_" in wheel.name


def test_the_wheel_has_our_two_packages_and_nothing_else(packages: Path) -> None:
    (wheel,) = packages.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (top,) = (name for name in names if name.endswith("/top_level.txt"))
        assert archive.read(top).decode().split() == ["numa_align", "numa_align_conf"]
    folders = {name.partition("/")[0] for name in names if "/" in name}
    assert {name for name in folders if not name.startswith("numa_align-")} == {
        "numa_align",
        "numa_align_conf",
    }


def test_wheel_and_sources_made_again_are_the_same_bytes(packages: Path) -> None:
    before = {path.name: path.read_bytes() for path in packages.iterdir()}
    for path in packages.iterdir():
        path.unlink()
    call("make", "-C", packages.parents[1], "wheel")
    assert {path.name: path.read_bytes() for path in packages.iterdir()} == before


@pytest.mark.parametrize("version", VERSIONS)
def test_the_wheel_binds(packages: Path, tmp_path: Path, version: str) -> None:
    python = python_of(version)
    if python is None:
        pytest.skip(f"there is no Python {version}")
    (wheel,) = packages.glob("*.whl")
    inside = install(python, tmp_path / "venv", wheel)
    cpus, file = json.loads(call(inside, "-c", USE))
    assert file.startswith(str(tmp_path))
    assert set(cpus) < os.sched_getaffinity(0) or len(os.sched_getaffinity(0)) < 2
    shown = call(tmp_path / "venv/bin/numa-align", "run", "sh", "-c", "echo $NUMA_ALIGN_STATE")
    assert shown in ("aligned\n", "partial\n")


def test_the_sources_build_with_a_compiler_alone(packages: Path, tmp_path: Path) -> None:
    (sources,) = packages.glob("*.tar.gz")
    inside = install(sys.executable, tmp_path / "venv", sources)
    cpus, _ = json.loads(call(inside, "-c", USE))
    assert set(cpus) <= os.sched_getaffinity(0)
