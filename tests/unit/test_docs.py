"""Help, man pages and documentation are correct."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from machine import LAUNCHERS
from numa_align.cli import COMMANDS, cli
from numa_align.placement.claim import spec_words

ROOT = Path(__file__).resolve().parents[2]


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


@pytest.mark.skipif(
    tuple(map(int, version("click").split(".")[:2])) < (8, 2),
    reason="the pages are written by click 8.2 or later, which lists arguments too",
)
def test_the_man_pages_are_those_of_the_help(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "docs/make_man.py"), str(tmp_path)], check=True, timeout=60)
    for page in tmp_path.iterdir():
        written = (ROOT / "docs/man" / page.name).read_text(encoding="utf-8")
        assert page.read_text(encoding="utf-8") == written, "run python docs/make_man.py"


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_troff_has_nothing_to_complain_about() -> None:
    for page in sorted((ROOT / "docs/man").glob("*.1")):
        words = ["groff", "-man", "-Tutf8", "-ww", "-z", str(page)]
        assert subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stderr == "", (
            page
        )


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_the_help_is_a_command_line_that_is_understood(name: str) -> None:
    epilog = command_of(name).epilog or ""
    assert epilog.startswith("Example: ")
    words = shlex.split(epilog.removeprefix("Example: "))
    words = words[words.index("numa-align") + 1 :]
    assert words[0] == name
    command_of(name).make_context(name, words[1:])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_an_example_and_its_statuses(name: str) -> None:
    command = command_of(name)
    assert command.epilog and "Exit status:" in (command.help or "")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_json_and_says_which_page_has_its_schema(name: str) -> None:
    (option,) = (p for p in command_of(name).params if isinstance(p, click.Option) and "--json" in p.opts)
    page = re.search(r"docs/(\w+\.md)", option.help or "")
    assert page
    assert re.search("## JSON|`--json`", (ROOT / "docs" / page[1]).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["run", "plan", "show"])
def test_the_help_of_the_option_lists_its_words(name: str) -> None:
    (option,) = (
        p for p in command_of(name).params if isinstance(p, click.Option) and "--numa-align" in p.opts
    )
    assert set(spec_words().split(", ")) == set(
        (option.help or "").partition(": ")[2].rstrip(".").split(", ")
    )


def test_the_shell_completes_commands_and_options() -> None:
    def complete(words: str) -> str:
        own = {
            "_NUMA_ALIGN_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        program = "from numa_align.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, **own}, capture_output=True, text=True,
            check=False, timeout=60,
        ).stdout  # fmt: skip

    assert "plain,bench" in complete("numa-align b")
    assert "plain,--local-rank" in complete("numa-align run --local")


def test_help_loads_no_command_and_no_heavy_module() -> None:
    program = (
        "import sys; from numa_align.cli import cli\n"
        "try: cli(['--help'], prog_name='numa-align')\n"
        "except SystemExit: pass\n"
        "heavy = {'rich', 'numpy', 'psutil', 'cffi', 'torch', "
        "'numa_align.placement.claim', 'numa_align.topology.read'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stderr == "[]\n"


def test_importing_the_package_is_free() -> None:
    program = "import sys; before = set(sys.modules); import numa_align; print(set(sys.modules) - before)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "{'numa_align'}\n"


def test_the_documentation_is_built_without_warnings(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "users/index.html").stat().st_size > 1000


def test_the_machines_launchers_have_the_documented_versions() -> None:
    users = (ROOT / "docs/users.md").read_text(encoding="utf-8")
    names = {"mosaicml": "composer", "ray": "Ray"}
    for package in LAUNCHERS.pypi:
        name, _, version = package.partition("==")
        assert re.search(f"{names.get(name, name)}.*{re.escape(version)}", users, re.IGNORECASE), package
