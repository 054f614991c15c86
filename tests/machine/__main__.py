"""`python -m machine`: boot a machine and run a command in it, or type commands one after the other."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from . import EmulatedMachine, Hardware, SlurmConfig
from .image import RELEASES, ImageError
from .progress import on_terminal, silent, to_stderr
from .qemu import QemuError


def parse_gpus(text: str) -> tuple[int | None, ...]:
    """`0,0,1,-`: the node of each GPU in PCI order, a dash for none."""
    if not text:
        return ()
    try:
        return tuple(None if word == "-" else int(word) for word in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of nodes like 0,0,1,-") from None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--slurm", type=click.Choice(list(RELEASES)), default="24.11", show_default=True)
@click.option("--project", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Install it.")
@click.option("--packages", default=2, show_default=True, help="CPU packages.")
@click.option("--nodes", default=1, show_default=True, help="NUMA nodes in a package.")
@click.option("--cores", default=4, show_default=True, help="Cores of a node.")
@click.option("--threads", default=1, show_default=True, help="Hardware threads of a core.")
@click.option("--memory", default=768, show_default=True, help="MiB of a node.")
@click.option("--gpus", default="0,0,0,0,1,1,1,1", show_default=True, help="Node of each GPU; - for none.")
@click.option("--cgroup", type=click.Choice(["1", "2"]), default="2", show_default=True, help="Version.")
@click.option("--no-gres-cores", is_flag=True, help="Leave Cores= out of gres.conf.")
@click.option("--user", default="user", show_default=True, help="Who runs the command: root, user, mallory.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds for a command.")
@click.option("--quiet", is_flag=True, help="Say nothing about progress.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def main(
    *,
    slurm: str,
    project: Path | None,
    packages: int,
    nodes: int,
    cores: int,
    threads: int,
    memory: int,
    gpus: str,
    cgroup: str,
    no_gres_cores: bool,
    user: str,
    timeout: float,
    quiet: bool,
    command: tuple[str, ...],
) -> None:
    """Boot a machine with NUMA nodes, GPUs and Slurm; run COMMAND in it and end with its status.

    Without COMMAND, lines are read from standard input and run one by one; `! LINE` runs as root.
    """
    try:
        topology = Hardware(
            packages=packages,
            nodes_per_package=nodes,
            cores_per_node=cores,
            threads=threads,
            memory=memory,
            gpus=parse_gpus(gpus),
        )
        machine = EmulatedMachine(
            topology,
            slurm,
            project=project,
            config=SlurmConfig(gres_cores=not no_gres_cores),
            cgroup=int(cgroup),
            progress=silent if quiet else on_terminal() if sys.stderr.isatty() else to_stderr,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        with machine:
            status = run_one(machine, command, user, timeout) if command else converse(machine, user, timeout)
    except (ImageError, QemuError, TimeoutError, AssertionError) as error:
        raise click.ClickException(str(error)) from None
    sys.exit(status)


def run_one(machine: EmulatedMachine, command: tuple[str, ...] | str, user: str, timeout: float) -> int:
    """A single word that has blanks is a line for bash."""
    if isinstance(command, tuple) and len(command) == 1:
        command = command[0]
    result = machine.run(command, user=user, timeout=timeout)
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    sys.stdout.flush()
    return result.status


def converse(machine: EmulatedMachine, user: str, timeout: float) -> int:
    """Not a terminal: each line is a shell of its own, but they share the machine."""
    status = 0
    while True:
        if sys.stdin.isatty():
            sys.stderr.write(f"{user}@{machine.name}$ ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line or line.strip() in ("exit", "logout"):
            return status
        as_root = line.lstrip().startswith("!")
        if line.strip():
            try:
                status = run_one(machine, line.lstrip("! \t"), "root" if as_root else user, timeout)
            except AssertionError as error:
                sys.stderr.write(f"{error}\n")


if __name__ == "__main__":
    main(prog_name="python -m machine")
