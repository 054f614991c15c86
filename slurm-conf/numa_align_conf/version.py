"""Slurm's versions, as far as configuration depends on them.

The source of each date is the file of the version in Slurm's CHANGELOG/, or the commit in Slurm's repository
that made the change; it is noted if something was seen with real daemons."""

from __future__ import annotations

import re
import subprocess
from typing import NamedTuple, Optional

from numa_align.errors import ConfError

from .installed import command


class Version(NamedTuple):
    """A release of Slurm: ``24.11`` is (24, 11); fixes within a release do not matter here."""

    year: int
    month: int

    def __str__(self) -> str:
        """As Slurm writes it: ``22.05``."""
        return f"{self.year}.{self.month:02d}"

    @property
    def checks_sockets(self) -> bool:
        """Cores= in gres.conf must be whole sockets, else the node does not register (24.11).

        Commit b886b6e82f, "Require that cores specification match slurm socket boundaries".
        """
        return self >= (24, 11)

    @property
    def wants_one_socket(self) -> bool:
        """Cores= must be exactly one socket, or all cores (25.11).

        Commit e2b6c8f65e, where "Cores match 1 socket" came into _check_core_range_matches_sock.
        """
        return self >= (25, 11)

    @property
    def has_node_parameters(self) -> bool:
        """SlurmdParameters' words may be in the NodeName line, as Parameters= (25.11).

        Commit 30b844f5bc, "Add per-node SlurmdParameters support".
        """
        return self >= (25, 11)

    @property
    def enforces_by_default(self) -> bool:
        """SelectTypeParameters knows ENFORCE_BINDING_GRES (23.11.2): CHANGELOG/slurm-23.11.md."""
        return self >= (23, 11)

    @property
    def has_cons_res(self) -> bool:
        """select/cons_res exists (until 23.02): "Removed select/cons_res" in CHANGELOG/slurm-23.11.md."""
        return self < (23, 11)

    @property
    def restricts_cores(self) -> bool:
        """RestrictedCoresPerGPU= in NodeName lines (24.05): CHANGELOG/slurm-24.05.md."""
        return self >= (24, 5)

    @property
    def runs_several_scripts(self) -> bool:
        """Prolog= and Epilog= may be on several lines (24.05); before, only the last line counts.

        Commit ce7b61f6a6, "Allow multiple Pro/Epilog scripts"; seen with 22.05.8, 24.11.5 and 26.05.5; a
        comma is part of a path in all of them.
        """
        return self >= (24, 5)

    @property
    def has_two_time_limits(self) -> bool:
        """PrologTimeout and EpilogTimeout replace PrologEpilogTimeout (25.05).

        Commit 60be338225; CHANGELOG/slurm-25.05.md.
        """
        return self >= (25, 5)

    @property
    def compares_batch_start(self) -> bool:
        """slurmctld warns at each start if BatchStartTimeout is less than the prolog's limit (26.11).

        Commit 81ac96b985, "Warn when BatchStartTimeout is below the prolog timeout".
        """
        return self >= (26, 11)


#: Every release from the oldest that is supported to the newest that is known.
KNOWN = tuple(
    Version(*pair)
    for pair in ((22, 5), (23, 2), (23, 11), (24, 5), (24, 11), (25, 5), (25, 11), (26, 5), (26, 11))
)

# "slurm 24.11.5", "slurm-wlm 22.05.8"; a release in words is the first two numbers.
_PATTERN = re.compile(r"(?:slurm\S*\s+)?(\d{2})\.(\d{2})(?:[.-].*)?", re.ASCII)


def parse_version(text: str) -> Version:
    """``24.11``, ``24.11.5`` or what ``scontrol --version`` prints.

    A release newer than all known ones is accepted: the newest form of each rule then applies. Raises
    ConfError for any other text.
    """
    match = _PATTERN.fullmatch(text.strip())
    version = Version(int(match[1]), int(match[2])) if match else None
    if version is None or (version not in KNOWN and version < KNOWN[-1]):
        known = ", ".join(map(str, KNOWN))
        raise ConfError(f"Slurm version {text.strip()[:40]!r} is not known; known are {known}")
    return version


def remark_on(version: Version) -> Optional[str]:
    """A remark about a release that is newer than this program; None for a known release."""
    if version in KNOWN:
        return None
    return f"Slurm {version} is newer than any release that is known here: the rules of {KNOWN[-1]} hold"


def installed_version() -> Optional[Version]:
    """The release of the Slurm on this machine; None if none of Slurm's programs tells it."""
    for name in ("scontrol", "slurmd", "slurmctld"):
        path = command(name)
        if path is None:
            continue
        try:
            done = subprocess.run([path, "-V"], capture_output=True, text=True, timeout=10, check=True)
            return parse_version(done.stdout)
        except (OSError, subprocess.SubprocessError, ConfError):
            continue
    return None


def needed_version() -> Version:
    """The release of this machine's Slurm; raises ConfError if unknown, as a wrong guess breaks daemons."""
    version = installed_version()
    if version is None:
        raise ConfError(
            "Slurm's release is not known: no scontrol, slurmd or slurmctld was found (in SLURM=, beside the "
            "running slurmd, in PATH, in /opt/slurm); give --slurm-version X.Y"
        )
    return version
