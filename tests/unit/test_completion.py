"""Completion in the shells themselves: input is typed on a terminal, and the shell asked for the result."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPLETION = ROOT / "packaging/completion"

START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source {folder}/numa-align"),
    "zsh": (
        ["zsh", "-f", "-i"],
        "fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; bindkey -e",
    ),
    "fish": (["fish", "--no-config", "-i"], "source {folder}/numa-align.fish"),
}


def test_the_files_are_those_that_the_options_say(tmp_path: Path) -> None:
    program = str(ROOT / "docs/make_completion.py")
    subprocess.run([sys.executable, program, str(tmp_path)], check=True, timeout=60)
    for file in tmp_path.iterdir():
        assert file.read_text() == (COMPLETION / file.name).read_text(), "run python docs/make_completion.py"


@pytest.fixture(params=START)
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A home with a few files, and a numa-align that tells if it was ever started."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/numa-align"
    command.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    command.chmod(0o755)
    (tmp_path / "work/machines").mkdir(parents=True)
    (tmp_path / "work/train.py").touch()
    (tmp_path / "work/picture.svg").touch()
    return tmp_path


def typed(shell: str, folder: Path, line: str) -> str:
    """What the line is after the tabulator key: the shell itself is made to write it into a file."""
    words, setup = START[shell]
    out = folder / "out"
    out.unlink(missing_ok=True)
    path = f"{folder}/bin:{os.environ['PATH']}"
    environment = {"HOME": str(folder), "PATH": path, "TERM": "dumb", "LC_ALL": "C.UTF-8", "PS1": "$ "}
    child, terminal = pty.fork()
    if not child:
        os.chdir(folder / "work")
        os.execvpe(words[0], words, environment)
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    try:
        os.write(terminal, f"{setup.format(folder=COMPLETION)}; echo > {ready}\n".encode())
        _wait_for(ready, terminal)
        os.write(terminal, f"{line}\t".encode() + b"\x01echo \x05 >" + f"{out}\n".encode())
        _wait_for(out, terminal)
        return out.read_text().strip()
    finally:
        os.close(terminal)
        os.kill(child, 9)
        os.waitpid(child, 0)


def _wait_for(file: Path, terminal: int) -> None:
    os.set_blocking(terminal, False)
    seen = b""
    for _ in range(6000):
        with contextlib.suppress(OSError):
            seen += os.read(terminal, 65536)
        if file.exists() and file.stat().st_size:
            return
        time.sleep(0.05)
    pytest.fail(f"nothing was written; the terminal shows {seen!r}")


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("numa-align ben", "numa-align bench"),
        ("numa-align run python tra", "numa-align run python train.py"),
        ("numa-align run --gpus 0 -- python tra", "numa-align run --gpus 0 -- python train.py"),
        ("numa-align run --thr", "numa-align run --threads"),
        ("numa-align run touc", "numa-align run touch"),
        ("numa-align topo --root mach", "numa-align topo --root machines/"),
        ("numa-align topo --root=mach", "numa-align topo --root=machines/"),
        ("numa-align plan --svg pict", "numa-align plan --svg picture.svg"),
        ("numa-align job 1 --svg pict", "numa-align job 1 --svg picture.svg"),
        ("numa-align plan --numa-align stri", "numa-align plan --numa-align strict"),
        ("numa-align plan --numa-align mem=pre", "numa-align plan --numa-align mem=preferred"),
        ("numa-align plan --numa-align=cpus=fa", "numa-align plan --numa-align=cpus=fair"),
        ("numa-align run --numa-align strict,verb", "numa-align run --numa-align strict,verbose"),
        ("numa-align show --as systemd,mem=b", "numa-align show --as systemd,mem=b"),
        ("numa-align run --numa-align strict,mem=bi", "numa-align run --numa-align strict,mem=bind"),
        ("numa-align show --as syst", "numa-align show --as systemd"),
        ("numa-align conf plug", "numa-align conf plugstack"),
        ("numa-align report pict", "numa-align report picture.svg"),
    ],
)
def test_what_is_typed_is_completed_and_the_command_is_not_started(
    shell: str, folder: Path, line: str, becomes: str
) -> None:
    # zsh takes the slash behind a folder away again when the next word begins.
    assert typed(shell, folder, line).rstrip("/") == becomes.rstrip("/")
    assert not (folder / "started").exists()
