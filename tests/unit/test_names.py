"""Words and variables are defined once in Python and once in C, and are equal."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import pytest
from builder import Machine as Built
from builder import on_nodes
from numa_align import _claim, names
from numa_align.cpulist import format_cpulist
from numa_align.placement.claim import ClaimMachine, Step, Task
from numa_align.topology import model

ROOT = Path(__file__).resolve().parents[2]
LIB = _claim.lib

#: Policies that the plugin can set; the kernel has one more.
SET_BY_US = names.MODES[: names.MODES.index("weighted-interleave")]


def words_of(name: Callable[[int], object]) -> Sequence[str]:
    """C's words, from number 0 to the first that has none."""
    texts = (_claim.ffi.string(name(number)).decode() for number in itertools.count())
    return tuple(itertools.takewhile(bool, texts))


@pytest.mark.parametrize(
    ("python", "c"),
    [
        (names.STATES, LIB.na_state_name),
        (SET_BY_US, LIB.na_policy_name),
        (names.MEM_WORDS, LIB.na_mem_name),
        (names.CPUS_WORDS, LIB.na_cpus_name),
        (names.NODE_KINDS, LIB.na_node_kind_name),
        (names.VARIABLES, LIB.na_variable_name),
    ],
    ids=["states", "policies", "mem", "cpus", "kinds", "variables"],
)
def test_python_and_c_have_the_same_words_in_one_order(
    python: Sequence[str], c: Callable[[int], object]
) -> None:
    assert tuple(python) == words_of(c)


def test_the_prologs_words_are_those_that_are_checked() -> None:
    """The prolog does without typing, so that its modules have such words as plain tuples."""
    assert get_args(names.PathWord) == model.PATHS


def test_policies_have_the_kernels_numbers() -> None:
    header = Path("/usr/include/linux/mempolicy.h").read_text(encoding="utf-8")
    listed = header[header.index("MPOL_DEFAULT") : header.index("MPOL_MAX")]
    kernel = [name.lower().replace("_", "-") for name in re.findall(r"MPOL_(\w+)", listed)]
    assert list(names.MODES[: len(kernel)]) == kernel[: len(names.MODES)]


def _literals(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("folder", ["prolog/numa_align", "slurm-conf/numa_align_conf"])
def test_no_other_module_spells_a_variable(folder: str) -> None:
    spelled = {
        str(path.relative_to(ROOT)): sorted(_literals(path) & set(names.VARIABLES))
        for path in (ROOT / folder).glob("**/*.py")
        if path.name != "names.py"
    }
    assert {path: found for path, found in spelled.items() if found} == {}


def test_no_other_file_in_c_spells_a_variable() -> None:
    files = [path for path in (ROOT / "spank").glob("**/*.c") if path.name != "variables.c"]
    spelled = [
        (path.name, name) for path in files for name in names.VARIABLES if f'"{name}"' in path.read_text()
    ]
    assert len(files) > 10
    assert spelled == []


def test_the_map_divides_the_tasks_own_cpus_among_its_gpus() -> None:
    topology = Built(packages=2, cores=4, gpus=on_nodes(0, 1)).topology()
    machine = ClaimMachine.of(topology)
    step = Step(topology.online, (0, 1), 1, (0, 1))
    variables = machine.variables(step, machine.place(step, Task(0, (0, 1), topology.online)))
    first, second = (gpu.bdf for gpu in topology.gpus)
    assert variables == {
        names.STATE: "aligned",
        names.GPUS: f"{first},{second}",
        names.CPUS: "0-7",
        names.MEMS: "0-1",
        names.MAP: f"{first}=0-3@0;{second}=4-7@1",
        names.NICS: None,
        names.REASON: None,
        names.WORKER: None,
    }


def test_a_map_that_does_not_fit_ends_between_entries() -> None:
    """256 GPUs on CPUs with gaps: half an entry would read like a whole one."""
    topology = Built(packages=1, cores=8000, gpus=on_nodes(*[0] * 256)).topology()
    machine = ClaimMachine.of(topology)
    every = tuple(range(256))
    odd = tuple(cpu for cpu in topology.online if cpu % 2)
    step = Step(odd, (0,), 1, every)
    placement = machine.place(step, Task(0, every, odd))
    text = machine.variables(step, placement)[names.MAP]
    assert text is not None
    whole = [
        f"{gpu.bdf}={format_cpulist(cpus)}@0"
        for gpu, (cpus, _) in zip(topology.gpus, machine.slices(step, placement))
    ]
    entries = text.split(";")
    assert 8 < len(entries) < 256
    assert entries == whole[: len(entries)]


def test_a_task_with_one_gpu_has_no_map() -> None:
    topology = Built(gpus=on_nodes(0)).topology()
    machine = ClaimMachine.of(topology)
    step = Step(topology.online, (0,), 1, (0,))
    placement = machine.place(step, Task(0, (0,), topology.online))
    assert machine.variables(step, placement)[names.MAP] is None


def test_a_test_has_a_name_of_at_most_60_letters() -> None:
    found = [
        node.name.removeprefix("test_")
        for path in (ROOT / "tests").glob("**/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert len(found) > 1000
    assert [name for name in found if len(name) > 60] == []
