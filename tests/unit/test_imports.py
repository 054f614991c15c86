"""Imports run one way: a group of modules uses those below it, never those above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: From the ground up. Modules that are not in a folder are named themselves.
LEVELS = (
    ("numa_align.light_typing",),
    ("numa_align.errors", "numa_align.cpulist", "numa_align.names", "numa_align.json_fields"),
    ("numa_align.sysfs", "numa_align.slurm_env"),
    ("numa_align.slurm_files", "numa_align.topology.gpu"),
    ("numa_align.topology",),
    ("numa_align.placement",),
    ("numa_align.process",),
    ("numa_align.audit",),
    ("numa_align.hooks", "numa_align.view", "numa_align.bench"),
    ("numa_align.cli",),
    ("numa_align_conf",),
    ("numa_align_conf.doctor",),
    ("numa_align_conf.cli",),
)
LEVEL = {group: level for level, groups in enumerate(LEVELS) for group in groups}

#: What every module may import: the package itself has only the version and lazy names.
FREE = ("numa_align", "numa_align._claim", "numa_align.__main__")


def modules() -> Iterator[tuple[str, Path]]:
    for root in (ROOT / "prolog", ROOT / "slurm-conf"):
        for path in sorted(root.glob("numa_align*/**/*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def group_of(module: str) -> str:
    """The longest group that the module is in."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in LEVEL), module)


def imports_of(module: str, path: Path) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{origin}.{alias.name}"
                yield full if full in MODULES else origin
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_module_has_a_level() -> None:
    assert {group_of(module) for module in MODULES if module not in FREE} == set(LEVEL)


@pytest.mark.parametrize("module", sorted(set(MODULES) - set(FREE)))
def test_no_import_runs_back_up(module: str) -> None:
    own = group_of(module)
    used = {name for name in imports_of(module, MODULES[module]) if name.startswith("numa_align")}
    above = [
        name
        for name in sorted(used - set(FREE))
        if group_of(name) != own and LEVEL[group_of(name)] >= LEVEL[own]
    ]
    assert above == []
