"""The plugin with clocks around its parts (parts.c), and what its tasks then say."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent

WRAPPED = (
    "access", "na_devices_of_task", "na_meeting_meet", "na_cpuset_of_step",
    "na_step_place", "na_bind_get_cpus", "na_bind_set_cpus", "na_bind_allowed_mems", "na_bind_set_memory",
    "na_bind_get_policy", "na_report_environment", "na_report_programs", "spank_setenv",
)  # fmt: skip
COLUMNS = (
    "all",
    "devices",
    "access",
    "cpuset",
    "place",
    "calls",
    "report",
    "setenv",
    "programs",
    "meeting",
    "faults",
)


def wraps(names: Iterable[str]) -> list[str]:
    return [f"-Wl,--wrap={name}" for name in names]


def build_plugin(folder: Path, spank: Path) -> bytes:
    """The plugin as its Makefile makes it, with clocks around its parts."""
    own = " ".join(str(HERE / name) for name in ("task_in_slurm.c", "parts.c"))
    command = ["make", "-s", "-C", str(spank), f"B={folder}"]
    words = [
        f"LDFLAGS={' '.join(wraps((*WRAPPED, 'na_stepd_task')))}",
        f"LDLIBS=-I{spank} -Wno-missing-prototypes {own}",
    ]
    subprocess.run([*command, *words], check=True)
    return (folder / "numa-align.so").read_bytes()


def medians(said: Iterable[str]) -> dict[str, float]:
    """Microseconds by part, from the stderr of steps: the lines that task_in_slurm.c writes."""
    took: dict[str, list[float]] = {}
    for text in said:
        for line in re.findall(r"\{.*\}", text):
            for name, value in json.loads(line).items():
                took.setdefault(name, []).append(value)
    return {name: statistics.median(took[name]) for name in COLUMNS}


def header(columns: Sequence[str]) -> str:
    return "".join(f"{column:>10}" for column in columns)


def row(took: Mapping[str, float], columns: Sequence[str]) -> str:
    return "".join(f"{took[column]:10.1f}" for column in columns)
