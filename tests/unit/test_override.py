"""The site's override file: what it changes, and the message for each mistake in it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from builder import Device, Machine, on_nodes
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from numa_align.cli.topo import command
from numa_align.errors import OverrideError
from numa_align.topology import simple_toml
from numa_align.topology.override import read_overrides
from numa_align.topology.read import read_at

UUID = "GPU-11111111-2222-3333-4444-555555555555"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two nodes, and three GPUs: on node 1, on no known node, on node 0."""
    gpus = (Device(1), Device(None, source="none", uuid=UUID), Device(0))
    return Machine(packages=2, gpus=gpus).write(tmp_path / "root")


def write(root: Path, text: str) -> Path:
    path = root / "etc/numa-align/override.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "name",
    [
        'bdf = "00000000:21:00.0"',
        'bdf = "0000:21:00.0"',
        f'uuid = "{UUID}"',
        f'uuid = "{UUID.upper()}"',
        "minor = 1",
    ],
)
def test_a_gpu_is_named_by_address_uuid_or_minor(name: str, root: Path) -> None:
    write(root, f"[[gpu]]\n{name}\nnode = 1\n")
    topology = read_at(root)
    gpu = topology.gpus[1]
    assert (gpu.node, gpu.source, gpu.cpus, gpu.memory_nodes) == (1, "override", (4, 5, 6, 7), (1,))
    assert [other.source for other in topology.gpus] == ["numa_node", "override", "numa_node"]
    assert topology.warnings == ()


def test_the_site_is_right_where_the_firmware_says_otherwise(root: Path) -> None:
    write(root, "[[gpu]]\nminor = 0\nnode = 0\n")
    topology = read_at(root)
    assert (topology.gpus[0].node, topology.gpus[0].source) == (0, "override")
    assert "GPU 0000:11:00.0: the override file says node 0, the kernel says node 1" in topology.warnings


def test_an_entry_for_a_gpu_of_another_machine_is_only_remarked(root: Path) -> None:
    path = write(root, '[[gpu]]\nbdf = "0000:99:00.0"\nnode = 1\n')
    topology = read_at(root, strict=True)
    assert f"{path}: entry 1 (0000:99:00.0) names no GPU of this machine" in topology.warnings


def test_of_two_entries_for_one_gpu_the_earlier_counts(root: Path) -> None:
    write(root, f'[[gpu]]\nminor = 1\nnode = 0\n[[gpu]]\nuuid = "{UUID}"\nnode = 1\n')
    topology = read_at(root)
    assert topology.gpus[1].node == 0
    assert any("entry 2" in warning and "an earlier one" in warning for warning in topology.warnings)


def test_an_empty_file_changes_nothing(root: Path) -> None:
    before = read_at(root)
    write(root, "# nothing yet\n")
    assert read_at(root) == before


#: Whether Python has a parser of its own; before 3.11 what override files do without is refused by line.
WHOLE_TOML = sys.version_info >= (3, 11)
MISTAKES = [
    ("[[gpu]\n", "is not TOML"),
    ("[[gpu]]\nminor = 1\nnode = 7\n", "no node 7 with CPUs; those with CPUs are 0, 1"),
    ("[[gpu]]\nminor = 1\n", "entry 1: node is missing"),
    ("[[gpu]]\nnode = 1\n", "one of bdf, uuid and minor, not by 0"),
    (f'[[gpu]]\nnode = 1\nminor = 1\nuuid = "{UUID}"\n', "not by 2"),
    ('[[gpu]]\nminor = "1"\nnode = 1\n', "minor must be a whole number"),
    ("[[gpu]]\nminor = 1\nnode = true\n", "node must be a whole number"),
    ("[[gpu]]\nminor = 1\nnode = -1\n", "node must be a whole number"),
    ("[[gpu]]\nbdf = 3\nnode = 1\n", "bdf must be text"),
    ('[[gpu]]\nbdf = "x"\nnode = 1\n', "'x' is not a PCI address"),
    ("[[gpu]]\nminor = 1\nnode = 1\n[[gpu]]\nminor = 1\nnode = 0\n", "entries 1 and 2 both name minor 1"),
    ("[[gpu]]\nminor = 1\nnode = 1\nnodes = 2\n", "unknown key 'nodes'"),
    ("[gpu]\nminor = 1\n", "must be a list of tables" if WHOLE_TOML else "'[gpu]' is no pair"),
    ("gpu = [1]\n", "entry 1 is not a table" if WHOLE_TOML else "neither a string in quotes nor"),
    ("[[gpus]]\nminor = 1\n", "unknown key 'gpus'"),
    ("a = " + "[" * 100000, "is not TOML"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_is_one_line_that_names_file_and_place(text: str, message: str, root: Path) -> None:
    path = write(root, text)
    with pytest.raises(OverrideError) as caught:
        read_at(root, strict=True)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_the_prolog_warns_of_a_mistake_and_ignores_the_file(text: str, message: str, root: Path) -> None:
    without = read_at(root)
    write(root, text)
    topology = read_at(root)
    assert topology.gpus == without.gpus
    assert message in topology.warnings[0]
    assert topology.warnings[0].endswith("the file is ignored")


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.toml", tmp_path):
        with pytest.raises(OverrideError, match="cannot be read"):
            read_overrides(path)
    (tmp_path / "noise.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OverrideError, match="byte 0 is not UTF-8"):
        read_overrides(tmp_path / "noise.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(OverrideError, match="is it the right file"):
        read_overrides(tmp_path / "big.toml")


def test_the_command_refuses_a_wrong_file_and_takes_another_path(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text("[[gpu]]\nminor = 1\nnode = 7\n")
    refused = CliRunner().invoke(command, ["--root", str(root), "--override", str(path)])
    assert isinstance(refused.exception, OverrideError)
    path.write_text("[[gpu]]\nminor = 1\nnode = 1\n")
    shown = CliRunner().invoke(command, ["--root", str(root), "--override", str(path), "--json"])
    assert json.loads(shown.stdout)["gpus"][1]["source"] == "override"


def test_without_a_file_no_toml_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numa_align.topology.override.read_overrides", None)
    assert read_at(Machine(gpus=on_nodes(0)).write(tmp_path)).gpus[0].node == 0


# -- Python 3.9 and 3.10, which have no parser for TOML ----------------------------------------

LINES = st.sampled_from(
    (
        "[[gpu]]",
        " [[ gpu ]] # a comment",
        'bdf = "0000:3b:00.0"',
        "uuid = 'GPU-1' # said by \"nvidia-smi\"",
        "minor = 3",
        "node = 1",
        "node=-1",
        "node = +0",
        "node = 01",
        "node = 0x1",
        "node = 1_0",
        "node = true",
        "",
        "# nothing",
        "[gpu]",
        "gpu = 1",
        'bdf = "a\\u0041"',
        'bdf = """x"""',
        "bdf = ''",
        "minor = 3 3",
        "= 3",
        "a.b = 1",
        '"node" = 1',
        "node = " + "9" * 5000,
    )
)


@given(st.lists(LINES, max_size=6).map("\n".join) | st.text(max_size=20))
def test_what_the_simple_reader_takes_means_the_same_to_pythons_own(text: str) -> None:
    tomllib = pytest.importorskip("tomllib")
    try:
        read = simple_toml.loads(text)
    except ValueError:
        return
    assert read == tomllib.loads(text)


def test_the_simple_reader_takes_what_the_documentation_shows() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/topology.md").read_text(encoding="utf-8")
    example = page.partition("```toml\n")[2].partition("```")[0]
    tables = simple_toml.loads(example)["gpu"]
    assert isinstance(tables, list) and len(tables) >= 2


def test_without_any_package_the_file_is_read_as_with_all(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, f'[[gpu]]\nuuid = "{UUID}"\nnode = 1\n')
    with_all = read_at(root)
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    assert read_at(root) == with_all
    assert with_all.gpus[1].source == "override"


@pytest.mark.parametrize("own", [True, False], ids=["simple", "tomllib"])
def test_a_number_of_thousands_of_digits_is_a_warning(
    own: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if own:
        monkeypatch.setitem(sys.modules, "tomllib", None)
    write(root, f"[[gpu]]\nminor = 1\nnode = {'1' * 5000}\n")
    (warning,) = (text for text in read_at(root).warnings if "the file is ignored" in text)
    assert len(warning) < 400


def test_a_pipe_in_place_of_the_file_is_a_warning(root: Path) -> None:
    path = root / "etc/numa-align/override.toml"
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert any("is not a regular file" in text for text in read_at(root).warnings)
