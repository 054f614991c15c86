"""Lists of CPUs in tables break at commas on a terminal, and not at all elsewhere."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from builder import Machine, on_nodes
from click.testing import CliRunner
from numa_align.cli.plan import command as plan
from numa_align.cli.topo import command as topo
from numa_align.view.lists import AtCommas
from rich.console import Console
from rich.table import Table

CPUS = "0-3,10,112-115,128,1000-1003"


@pytest.mark.parametrize("width", range(10, 40))
def test_a_number_is_never_broken(width: int) -> None:
    out = io.StringIO()
    Console(file=out, width=width).print(AtCommas(CPUS))
    lines = out.getvalue().split()
    assert "".join(lines) == CPUS and all(line.endswith(",") for line in lines[:-1])
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize("width", range(28, 60))
def test_nor_in_a_table(width: int) -> None:
    out, table = io.StringIO(), Table("Name", "CPUs")
    table.add_row("a name with words in it", AtCommas(CPUS))
    Console(file=out, width=width).print(table)
    found = re.findall(r"[\d,-]+(?=\s*[│|])", out.getvalue())
    assert "".join(found) == CPUS


def test_what_is_no_terminal_gets_each_list_in_one_line(tmp_path: Path) -> None:
    """As a program reads it that was piped to, however narrow the terminal is from which it was started."""
    machine = Machine(packages=2, nodes=4, cores=8, smt=2, gpus=on_nodes(*range(8)))
    root = str(machine.write(tmp_path))
    for command, more in ((topo, []), (plan, ["-n8", "--cpus", ",".join(map(str, range(0, 128, 2)))])):
        result = CliRunner().invoke(command, ["--root", root, *more], env={"COLUMNS": "40"})
        assert result.exit_code == 0, result.output
        assert not re.search(r",\s*$", result.output, re.MULTILINE)
    assert "56,58,60,62,120,122,124,126" in result.output
