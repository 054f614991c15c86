"""Programs that place themselves, and the variables that tell them that they have been placed. Pure.

The table is the plugin's (spank/placement/programs.c); docs/users.md has the sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .claim import programs


def hands_off(environment: Mapping[str, str], cpus: Sequence[int], online: Sequence[int]) -> dict[str, str]:
    """The variables to set for a process that was given ``cpus`` out of those of the machine.

    A process with all CPUs has no placement to lose, and if it starts workers, the program may place them.
    """
    if not cpus or set(cpus) >= set(online):
        return {}
    return {name: value for name, value in programs().items() if name not in environment}
