"""``numa-align doctor``: what is wrong with this node's configuration, and which line to change."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import click
from numa_align.cli.recorded import machine_options

from .conf import version_option

if TYPE_CHECKING:
    from rich.text import Text

    from ..doctor.model import Finding

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command(
    short_help="Check Slurm's configuration and this node.", epilog="Example: numa-align doctor --quiet"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; its fields are in docs/administrators.md.")
@click.option("--quiet", "-q", is_flag=True, help="Show only findings that are not ok.")
@machine_options
@click.option(
    "--slurm-conf",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=(
        "slurm.conf; gres.conf, cgroup.conf and plugstack.conf are beside it.  [default: SLURM_CONF, "
        "the running slurmd's, /etc/slurm]"
    ),
)
@version_option
def command(
    *,
    as_json: bool,
    quiet: bool,
    root: str,
    node_name: Optional[str],
    slurm_conf: Optional[Path],
    slurm_version: Optional[str],
) -> None:
    """Check Slurm's configuration and this node, and print one line per finding.

    No file is changed. Exit status: 0 if all is well, 1 for warnings, 3 for failures, 2 for wrong input.
    """
    from ..doctor.checks import EXIT_STATUS, examine, worst  # noqa: PLC0415 (see cli.conf)
    from ..doctor.read import read_facts  # noqa: PLC0415
    from ..version import parse_version  # noqa: PLC0415

    version = parse_version(slurm_version) if slurm_version else None
    facts = read_facts(root, name=node_name, slurm_conf=slurm_conf, version=version)
    findings = examine(facts)
    if as_json:
        click.echo(to_json(facts.name, findings))
    else:
        show([finding for finding in findings if not quiet or finding.status != "ok"])
    sys.exit(EXIT_STATUS[worst(findings)])


def to_json(name: str, findings: Sequence[Finding]) -> str:
    """The findings as JSON, one per line."""
    import json  # noqa: PLC0415 (the lines need none)
    from dataclasses import asdict  # noqa: PLC0415

    lines = ",\n  ".join(json.dumps(asdict(finding)) for finding in findings)
    return f'{{"version": 1,\n "name": {json.dumps(name)},\n "findings": [{lines}]}}'


def show(findings: Sequence[Finding]) -> None:
    """Print one line per finding, in colour on a terminal; never wrapped, so that grep sees whole lines."""
    from rich.console import Console  # noqa: PLC0415 (--json need not wait for it)

    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        console.print(line_of(finding))


def line_of(finding: Finding) -> Text:
    """``fail  what (cost) -> change``."""
    from rich.text import Text  # noqa: PLC0415 (see show)

    text = Text.assemble((f"{finding.status:4}", _STYLES[finding.status]), "  ", finding.what)
    if finding.cost:
        text.append(f"; {finding.cost}")
    if finding.change:
        text.append(f" -> {finding.change}", "cyan")
    return text
