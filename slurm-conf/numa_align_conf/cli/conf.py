"""``numa-align conf``: Slurm's configuration for these nodes, as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import click
from numa_align.cli.recorded import root_option
from numa_align.errors import ConfError

if TYPE_CHECKING:
    from ..facts import Kind
    from ..generate import ConfRequest
    from ..version import Version

PARTS = ("gres", "slurm", "cgroup", "plugstack", "lua", "all")

#: Parts that are the same for every release and every machine, so that neither has to be known.
ALIKE = ("cgroup", "plugstack")

version_option = click.option(
    "--slurm-version", metavar="X.Y", help="Slurm's version.  [default: this machine's]"
)


@click.command(
    short_help="Print Slurm's configuration for these nodes.", epilog="Example: numa-align conf gres"
)
@click.argument("part", type=click.Choice(PARTS))
@version_option
@root_option
@click.option(
    "--facts",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Files written by `numa-align topo --json`, one per node, or a folder of them; else this machine.",
)
@click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="NAME",
    help=(
        "Name of this node, or nodes of --facts to choose; a list in Slurm's notation.  [default: host "
        "name; all]"
    ),
)
@click.option("--diff", metavar="FILE", help="Show what would change in this file. Nothing is written.")
@click.option(
    "--defaults",
    default="",
    metavar="WORDS",
    help="The site's words for plugstack.conf, such as `on mem=bind`.",
)
@click.option(
    "--prefix",
    default=None,
    metavar="DIR",
    help="Where numa-align is installed.  [default: where this program is]",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the text in JSON; docs/administrators.md has the schema.",
)
def command(
    *,
    part: str,
    slurm_version: Optional[str],
    root: str,
    facts: tuple[Path, ...],
    nodes: tuple[str, ...],
    diff: Optional[str],
    defaults: str,
    prefix: Optional[str],
    as_json: bool,
) -> None:
    """Print gres.conf, lines for slurm.conf, cgroup.conf or plugstack.conf, or a cli_filter in Lua.

    Comments in the output say why. No file is changed: redirect the output, or use --diff FILE to see what
    would change in a file that you have.
    Exit status: 0, or 2 for wrong usage or input.
    """
    from numa_align.slurm_files.which_conf import is_copy  # noqa: PLC0415 (other subcommands need none of it)

    from .. import generate  # noqa: PLC0415

    if facts and root != "/":
        raise click.UsageError(
            "--root and --facts exclude each other: either one machine or files of several"
        )
    if diff is not None and part in ("all", "lua"):
        raise click.UsageError(f"--diff compares one file: give gres, slurm, cgroup or plugstack, not {part}")
    request, version = _request(
        part,
        root=root,
        facts=facts,
        nodes=nodes,
        slurm_version=slurm_version,
        defaults=defaults,
        prefix=prefix,
    )
    if diff is not None and is_copy(diff):
        click.echo(
            f"numa-align: {diff} is slurmd's copy of what slurmctld sends: apply the change to the original "
            "on the host of slurmctld (SlurmctldHost=), then `scontrol reconfigure`",
            err=True,
        )
    text = generate.compare(part, request, Path(diff)) if diff else generate.generate(part, request)
    if as_json:
        said = None if version is None else str(version)
        fields = {"version": 1, "part": part, "slurm_version": said, "diff": diff, "text": text}
        click.echo(json.dumps(fields, indent=1))
    else:
        click.echo(text, nl=False)


def _request(
    part: str,
    *,
    root: str,
    facts: tuple[Path, ...],
    nodes: tuple[str, ...],
    slurm_version: Optional[str],
    defaults: str,
    prefix: Optional[str],
) -> tuple[ConfRequest, Optional[Version]]:
    """What to generate, and for which release: None if it is unknown and does not matter."""
    from ..generate import ConfRequest, kinds_of_files, kinds_of_machine  # noqa: PLC0415
    from ..prefix import installed_prefix  # noqa: PLC0415
    from ..version import KNOWN, installed_version, needed_version, parse_version, remark_on  # noqa: PLC0415

    if any(character in defaults for character in "#\n\\"):
        raise ConfError(f"--defaults {defaults!r}: plugstack.conf has no way to write # or a line break")
    kinds: tuple[Kind, ...] = ()
    if part not in ALIKE:
        kinds = kinds_of_files(facts, nodes) if facts else kinds_of_machine(root, nodes)
    version: Optional[Version]
    if slurm_version:
        version = parse_version(slurm_version)
    else:
        version = installed_version() if part in ALIKE else needed_version()
    remark = None if version is None else remark_on(version)
    if remark is not None:
        click.echo(f"numa-align: {remark}", err=True)
    words = " ".join(defaults.split())
    return ConfRequest(kinds, version or KNOWN[-1], prefix or installed_prefix(), words), version
