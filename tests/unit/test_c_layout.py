"""The C of the plugin has one order: a file uses those below it, and each header has the file of its name."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SPANK = Path(__file__).resolve().parents[2] / "spank"
INCLUDE = re.compile(r'^#include "(.+)"', re.MULTILINE)
#: A function that other files may call, in a header or where it is defined.
FUNCTION = re.compile(r"^(?!static|typedef|\s)[a-z][\w \t*]*?\b(na_\w+|slurm_spank_\w+)\(", re.MULTILINE)
FILES = sorted(path for path in SPANK.glob("**/*.[ch]") if "build" not in path.parts)


def unit_of(path: Path) -> str:
    """A .c and its header count as one: who includes the header needs what the other defines."""
    return path.relative_to(SPANK).with_suffix("").as_posix()


def uses() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in FILES:
        for name in INCLUDE.findall(path.read_text(encoding="utf-8")):
            beside = path.parent / name
            used = unit_of(beside if beside.is_file() else SPANK / name)
            found.setdefault(unit_of(path), set()).update({used} - {unit_of(path)})
    return found


def test_includes_make_no_circle() -> None:
    order = list(TopologicalSorter(uses()).static_order())
    assert order.index("placement/bitset") < order.index("placement/place") < order.index("hooks")


def test_the_pure_part_includes_nothing_of_the_plugin() -> None:
    outside = {
        (unit, used)
        for unit, names in uses().items()
        for used in names
        if unit.startswith("placement/") and not used.startswith("placement/")
    }
    assert outside == set()


@pytest.mark.parametrize(
    "header", [path for path in FILES if path.suffix == ".h"], ids=lambda path: path.stem
)
def test_what_a_header_declares_is_defined_beside_it(header: Path) -> None:
    declared = set(FUNCTION.findall(header.read_text(encoding="utf-8")))
    beside = header.with_suffix(".c")
    defined = set(FUNCTION.findall(beside.read_text(encoding="utf-8"))) if beside.is_file() else set()
    assert declared - defined == set()
