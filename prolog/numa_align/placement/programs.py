"""Programs that place themselves, and the variable by which each is told that somebody else has. Pure.

The table is the plugin's (spank/placement/programs.c); docs/users.md has the sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .claim import programs


def hands_off(environment: Mapping[str, str], cpus: Sequence[int], online: Sequence[int]) -> dict[str, str]:
    """The variables to set for a process that was given ``cpus`` of those of the machine.

    A process with all CPUs has no place to lose, and a program that starts workers may well place them.
    """
    if not cpus or set(cpus) >= set(online):
        return {}
    return {name: value for name, value in programs().items() if name not in environment}
