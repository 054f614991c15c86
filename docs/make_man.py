"""Writes the man pages of the commands, docs/man/numa-align*.1, from their --help: `make man`."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import click
from numa_align import __version__
from numa_align.cli import COMMANDS, cli

#: Pages for administrators are written by hand, in section 8.
SKIPPED = ("conf", "doctor")


def main(folder: Path) -> None:
    """All pages below ``folder``."""
    (folder / "numa-align.1").write_text(overview(), encoding="utf-8")
    context = click.Context(cli, info_name="numa-align")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command is not None and name not in SKIPPED:
            page = page_of(name, command, context)
            (folder / f"numa-align-{name}.1").write_text(page, encoding="utf-8")


def escape(text: str) -> str:
    """A line of text for troff: no minus becomes a hyphen, no dot at the start a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def heading(name: str, summary: str) -> list[str]:
    """Title and NAME."""
    title = name.upper().replace("-", "\\-")
    return [
        f'.TH "{title}" 1 "" "numa\\-align {__version__}" "numa\\-align"',
        ".SH NAME", f"{escape(name)} \\- {escape(summary.rstrip('.'))}",
    ]  # fmt: skip


def paragraphs(text: str) -> list[str]:
    """Help text: blank lines part paragraphs, indented ones are examples."""
    lines = []
    for block in inspect.cleandoc(text).split("\n\n"):
        if not block.strip():
            continue  # what is left before "Exit status:"; Python before 3.13 keeps its indentation
        if block.startswith("    "):
            lines += [".PP", ".EX", *(escape(line) for line in block.splitlines()), ".EE"]
        else:
            # A sentence a line, as troff wants it.
            joined = " ".join(block.split()).replace(". ", ".\n")
            lines += [".PP", *(escape(line) for line in joined.splitlines())]
    return lines


def page_of(name: str, command: click.Command, parent: click.Context) -> str:
    """The page of a subcommand."""
    context = click.Context(command, info_name=name, parent=parent)
    text, _, status = (command.help or "").partition("Exit status:")
    usage = " ".join(command.collect_usage_pieces(context))
    lines = heading(f"numa-align-{name}", command.short_help or "")
    lines += [".SH SYNOPSIS", f".B numa\\-align {escape(name)}", escape(usage)]
    lines += [".SH DESCRIPTION", *paragraphs(text), ".SH OPTIONS"]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record:
            lines += [".TP", f".B {escape(record[0])}", escape(record[1])]
    if status:
        lines += [".SH EXIT STATUS", *paragraphs(status.strip()[:1].upper() + status.strip()[1:])[1:]]
    if command.epilog:
        example = command.epilog.removeprefix("Example: ")
        lines += [".SH EXAMPLE", ".EX", escape(example), ".EE"]
    lines += [".SH SEE ALSO", ".BR numa\\-align (1),", ".BR srun (1),", ".BR set_mempolicy (2)"]
    return "\n".join(lines) + "\n"


def overview() -> str:
    """The page of numa-align itself."""
    lines = heading("numa-align", "bind tasks to the CPUs and the memory nearest to their GPUs")
    lines += [".SH SYNOPSIS", ".B numa\\-align", "COMMAND [OPTIONS] [ARGS]", ".SH DESCRIPTION"]
    lines += [*paragraphs(cli.help or ""), ".SH COMMANDS"]
    for name, summary in COMMANDS.items():
        section = 8 if name in SKIPPED else 1
        lines += [".TP", f".BR numa\\-align\\-{escape(name)} ({section})", escape(summary)]
    lines += [
        ".SH EXIT STATUS", "That of the command; 2 for wrong usage or input, 130 after an interrupt.",
        ".SH COMPLETION",
        "bash, zsh and fish find what was installed by packages or below /usr.",
        "With pip, in bash, also with zsh or fish in its place:", ".EX",
        'eval "$(_NUMA_ALIGN_COMPLETE=bash_source numa\\-align)"', ".EE",
        ".SH SEE ALSO", ".BR srun (1)",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("man")))
