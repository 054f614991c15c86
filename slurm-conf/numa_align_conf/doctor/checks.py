"""The table of checks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Callable

from . import (
    card_checks,
    gres_checks,
    gres_compare,
    gres_detect,
    gres_flags,
    plugin_words,
    slurm_checks,
    system_checks,
)
from .model import STATUSES, Facts, Finding

#: In the order in which findings are shown.
CHECKS: tuple[Callable[[Facts], Iterable[Finding]], ...] = (
    slurm_checks.configuration,
    slurm_checks.release,
    slurm_checks.given_files,
    gres_checks.gpus_have_a_node,
    system_checks.contradicting,
    gres_detect.autodetect,
    gres_compare.refused_lines,
    gres_compare.records,
    gres_flags.gpu_flags,
    gres_compare.declared_gres,
    gres_compare.others,
    gres_detect.detected_gres,
    gres_checks.gres_lines,
    gres_checks.restricted_cores,
    slurm_checks.single_values,
    slurm_checks.declared_twice,
    slurm_checks.declared_shape,
    slurm_checks.numa_sockets,
    slurm_checks.task_plugins,
    slurm_checks.constraints,
    slurm_checks.spec_cpus,
    slurm_checks.plugin,
    plugin_words.words,
    slurm_checks.prolog,
    slurm_checks.tables,
    system_checks.kernel_settings,
    system_checks.huge_pages,
    system_checks.persistence,
    system_checks.copies,
    card_checks.nearest_is_up,
    card_checks.peer_traffic,
    card_checks.scratch,
)

#: Exit status of ``numa-align doctor`` by the worst finding; 2 is for wrong input, as everywhere.
EXIT_STATUS = {"ok": 0, "warn": 1, "fail": 3}


def examine(facts: Facts) -> tuple[Finding, ...]:
    """All findings."""
    return tuple(_at_the_original(facts, finding) for check in CHECKS for finding in check(facts))


def _at_the_original(facts: Facts, finding: Finding) -> Finding:
    """A file that slurmctld sent has to be changed at its origin."""
    folder = (facts.slurm_conf or "").rpartition("/")[0]
    if facts.controller is None or f"{folder}/" not in finding.change:
        return finding
    where = f"this is slurmd's copy: change the original on {facts.controller}, then `scontrol reconfigure`"
    return replace(finding, change=f"{finding.change} ({where})")


def worst(findings: Iterable[Finding]) -> str:
    """The worst status among findings."""
    return max((finding.status for finding in findings), key=STATUSES.index, default="ok")
