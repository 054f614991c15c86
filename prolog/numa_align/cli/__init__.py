"""The command ``numa-align``: one module per subcommand, imported when the subcommand is used.

A subcommand NAME is the attribute ``command`` of the module ``numa_align.cli.NAME``; listing
them here rather than importing them keeps ``numa-align --help`` fast.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from typing import NoReturn, Optional

import click

from .. import __version__
from ..errors import NumaAlignError, OutputError
from .streams import take_streams

#: Subcommand -> the line that ``--help`` shows, in the order in which the data flows.
COMMANDS = {
    "topo": "Show the NUMA nodes and GPUs of this machine.",
    "plan": "Show what a step would do, without Slurm.",
    "run": "Run a command near its GPUs, without the plugin.",
    "show": "Print the binding as options of numactl, docker, Kubernetes and others.",
    "gpus": "Find the GPUs of this node that sit best together.",
    "check": "Check whether this task is aligned, as the kernel reports it.",
    "job": "Show where a running job's processes, threads and pages are.",
    "audit": "Show how well all running jobs are placed.",
    "report": "Sum up GPU hours by state from logged samples.",
    "bench": "Measure memory and copies, near and far.",
    "conf": "Print Slurm's configuration for these nodes.",
    "doctor": "Check Slurm's configuration and this node.",
}

#: Commands of another package, which builds on this one; given by name, so that nothing here imports it.
_ELSEWHERE = {"conf": "numa_align_conf.cli", "doctor": "numa_align_conf.cli"}


class _Commands(click.Group):
    """A group whose commands are modules, imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:
        if cmd_name not in COMMANDS:
            return None
        package = _ELSEWHERE.get(cmd_name, "numa_align.cli")
        module = importlib.import_module(f"{package}.{cmd_name}")
        command: click.Command = module.command
        # click before 8.2 shows this name in its messages, not the word that was typed.
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[Optional[str], Optional[click.Command], list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib  # noqa: PLC0415 (for this alone)

            name = next(iter(difflib.get_close_matches(args[0], COMMANDS, 1)), None)
            # Newer releases of click do so themselves.
            if name is None or name in error.message:
                raise
            raise click.UsageError(f"{error.message.rstrip('.')}, did you mean {name!r}?", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="numa-align")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Bind tasks to the CPUs and the memory nearest to their GPUs.

    In Slurm, the option `srun --numa-align` does it; this command shows what it sees, what it would do and
    what it did.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Entry point: a message is one line on stderr, never a traceback.

    Exit status: that of the command; 2 for wrong usage or input, or if output cannot be written; 130 after
    an interrupt.
    """
    take_streams()
    try:
        # click itself would print three lines of usage, and exit with 1 after an interrupt.
        status = cli.main(prog_name="numa-align", standalone_mode=False)
        sys.stdout.flush()
    except OutputError as error:
        if error.quiet:
            sys.exit(error.exit_status)
        _end(str(error), error.exit_status)
    except NumaAlignError as error:
        _end(str(error), error.exit_status)
    except click.ClickException as error:
        _end(_line_of(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except OSError as error:
        # Where the system may well refuse, the command has a message of its own.
        _end(str(error), 2)
    sys.exit(status)


def say(line: str) -> None:
    """Write a line to stderr, if it is open and can be written to."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _end(message: str, status: int) -> NoReturn:
    say(f"numa-align: {message}")
    sys.exit(status)


def _line_of(error: click.ClickException) -> str:
    """click's message, which may be a list over several lines, and where to read more."""
    words = " ".join(error.format_message().split()).rstrip(".")
    # Releases before 8.2 write the option after a colon.
    words = re.sub(r"^No such option: ([^\s.]+)", r"No such option '\1'", words)
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{words[:1].lower()}{words[1:]}; see `{context.command_path if context else 'numa-align'} --help`"
