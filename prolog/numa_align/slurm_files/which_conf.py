"""Which slurm.conf a machine uses, if it has several: one rule for all callers.

slurmd takes the file of -f, of --conf-server (it then stores what slurmctld sends, with /run/slurm/conf as
a link to it), of SLURM_CONF, or else the one that it was built for (slurmd(8);
_establish_config_source in src/slurmd/slurmd/slurmd.c). It sets SLURM_CONF for prologs and tasks. In a
person's shell it is not set, so slurmd's own command line is the best evidence: a file that was left in
/etc/slurm when a site went over to "configless" is read by nothing.
"""

from __future__ import annotations

import os

from ..light_typing import TYPE_CHECKING, NamedTuple
from ..sysfs import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Optional

#: The folder of the files that slurmctld sent to slurmd ("configless"), below the root.
GIVEN = "run/slurm/conf"

#: Where packages put Slurm's files, below the root.
PACKAGED = ("etc/slurm", "etc/slurm-llnl", "opt/slurm/etc")


class Running(NamedTuple):
    """The slurmd of this machine: its executable and its arguments; other users may not see either."""

    executable: Optional[str]
    words: tuple[str, ...]


def running_slurmd(tree: Optional[Tree] = None) -> Optional[Running]:
    """The slurmd that runs here; None if none does. One in a container does not count."""
    tree = Tree("/") if tree is None else tree
    ours = tree.link("proc/self/ns/mnt")
    for pid in tree.numbered("proc", ""):
        process = f"proc/{pid}"
        if tree.text(f"{process}/comm") != "slurmd":
            continue
        if tree.link(f"{process}/ns/mnt") not in (None, ours):
            continue
        words = (tree.text(f"{process}/cmdline") or "").split("\0")
        executable = tree.link(f"{process}/exe") or (words[0] if words[0].startswith("/") else None)
        return Running(executable, tuple(words[1:]))
    return None


def conf_of(words: Sequence[str]) -> Optional[str]:
    """The slurm.conf that slurmd's command line names; None if none (slurmd(8), -f, --conf-server).

    With --conf-server, a file that was left in /etc/slurm does not count.
    """
    for word, following in zip(words, (*words[1:], "")):
        if word == "-f":
            return following
        if word.startswith("-f") and len(word) > 2:
            return word[2:]
        if word.startswith("--conf-server"):
            return f"/{GIVEN}/slurm.conf"
    return None


def conf_below(prefix: str) -> tuple[str, ...]:
    """Where a Slurm that was installed below a prefix may have its slurm.conf."""
    return (f"{prefix}/etc/slurm.conf", f"{prefix}/etc/slurm/slurm.conf")


def slurm_conf(tree: Tree, named: Optional[str] = None, prefixes: Sequence[str] = ()) -> Optional[str]:
    """The slurm.conf that Slurm reads on the machine below ``tree``; None if there is none.

    In this order: ``named``, the value of SLURM_CONF; the one of the running slurmd; below ``prefixes``;
    the one that slurmctld sent, if no slurmd runs that reads another; where packages put it.
    """
    if named and os.path.isfile(named):  # noqa: PTH113 (the prolog does without pathlib)
        return named
    found = (tree.path(path.lstrip("/")) for path in _candidates(tree, prefixes))
    return next((path for path in found if os.path.isfile(path)), None)  # noqa: PTH113


def _candidates(tree: Tree, prefixes: Sequence[str]) -> Iterator[str]:
    running = running_slurmd(tree)
    told = None if running is None else conf_of(running.words)
    if told:
        yield told
    for prefix in prefixes:
        yield from conf_below(prefix)
    if running is not None and running.executable is not None:
        yield from conf_below(os.path.dirname(os.path.dirname(running.executable)))  # noqa: PTH120
    given = f"/{GIVEN}/slurm.conf"
    packaged = tuple(f"{folder}/slurm.conf" for folder in PACKAGED)
    # The link stays until the next boot; a running slurmd that does not name it reads its own file.
    yield from (*packaged, given) if running is not None and running.words else (given, *packaged)


def is_copy(path: str) -> bool:
    """Whether slurmctld sent a file to slurmd: a change to it would be lost."""
    folder = os.path.dirname(path)  # noqa: PTH120
    names = (os.path.basename(folder), os.path.basename(os.path.realpath(folder)))  # noqa: PTH119
    return folder == f"/{GIVEN}" or "conf-cache" in names
