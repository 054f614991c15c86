"""Bounded reading: whatever is in place of a file, the answer is None."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from numa_align.sysfs import SIZE_LIMIT, Tree, fields, to_hex, to_number


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "directory").mkdir()
    (tmp_path / "cut").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "long").write_text("0" * (SIZE_LIMIT + 1))
    (tmp_path / "file").write_bytes(b" 12\n\0")
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    os.mkfifo(tmp_path / "pipe")
    return Tree(tmp_path)


@pytest.mark.parametrize(
    "name", ["nothing", "directory", "cut", "loop", "long", "pipe/x", "file/x", "a\0b", "x" * 300]
)
def test_what_is_no_file_reads_as_none(name: str, tree: Tree) -> None:
    assert tree.text(name) is None
    assert tree.number(name) is None
    assert tree.cpus(name) is None


@pytest.mark.parametrize("name", ["nothing", "file", "cut", "pipe", "a\0b"])
def test_what_is_no_directory_is_empty(name: str, tree: Tree) -> None:
    assert tree.names(name) == []
    assert tree.numbered(name, "cpu") == []


def test_a_pipe_does_not_stop_the_reader(tree: Tree) -> None:
    assert tree.text("pipe") == ""


def test_noise_is_text_but_no_number_and_no_set(tree: Tree) -> None:
    assert tree.text("noise") is not None
    assert tree.number("noise") is None
    assert tree.cpus("noise") is None


def test_the_first_file_that_holds_a_set_counts(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "a_list").write_text("nonsense\n")
    (tmp_path / "a_map").write_text("0000000f\n")
    assert tree.cpus("missing_list", "a_list", "a_map") == (0, 1, 2, 3)


def test_blanks_and_nuls_around_a_value_are_no_part_of_it(tree: Tree) -> None:
    assert tree.text("file") == "12"
    assert tree.number("file") == 12


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("-1", -1), ("18446744073709551615", 2**64 - 1)])
def test_a_number_is_read(text: str, number: int) -> None:
    assert to_number(text) == number


@pytest.mark.parametrize("text", [None, "", "-", "--1", "+1", "1_0", " 1", "1.0", "0x1", "٣", "²", "9" * 30])
def test_what_is_no_number_is_none(text: str) -> None:
    assert to_number(text) is None


@pytest.mark.parametrize(("text", "number"), [("0x10de", 0x10DE), ("10DE", 0x10DE), ("0", 0)])
def test_a_hexadecimal_number_is_read(text: str, number: int) -> None:
    assert to_hex(text) == number


@pytest.mark.parametrize("text", [None, "", "0x", "xyz", "-1", "1_0", "0x 1", "f" * 30])
def test_what_is_no_hexadecimal_number_is_none(text: str) -> None:
    assert to_hex(text) is None


def test_fields_are_the_lines_with_a_colon() -> None:
    text = "Model: \t NVIDIA A: B\nDevice Minor: \t 3\nnothing\nDevice Minor: 4\n"
    assert fields(text) == {"Model": "NVIDIA A: B", "Device Minor": "3"}
    assert fields(None) == {}


def test_a_live_tree_is_the_one_at_the_root() -> None:
    assert Tree("/").is_live
    assert Tree(Path("/")).is_live
    assert not Tree("/tmp").is_live
