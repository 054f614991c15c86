"""``--numa-align SPEC``, for the commands that decide as the plugin does."""

from __future__ import annotations

import click

from ..names import SPEC_VALUES, SPEC_WORDS

_ALL = ", ".join((*SPEC_WORDS, *(f"{key}={'|'.join(values)}" for key, values in SPEC_VALUES.items())))

spec_option = click.option(
    "--numa-align",
    "spec",
    metavar="SPEC",
    help=f"Words of srun --numa-align=SPEC, with commas between them: {_ALL}.",
)
