"""What the native tests share: asking for alignment and reading the answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Optional

from e2e.steps import PROBE, Rank, ranks_of
from machine import Result

from .native import Native

PLUGSTACK = "/etc/slurm/plugstack.conf.d/numa-align.conf"
LIBRARY = "/usr/lib/numa-align/numa-align.so"


def ask(native: Native, job: str, options: str, env: Optional[Mapping[str, str]] = None) -> Rank:
    """What the kernel says of the one task of `srun OPTIONS` in a job."""
    command = f"srun --jobid={job} --overlap -n1 {options} {PROBE}"
    (rank,) = ranks_of(native.run(command, user="user", env=env, check=True))
    return rank


@contextlib.contextmanager
def plugstack(native: Native, text: str) -> Iterator[None]:
    """Another line for the plugin in plugstack.conf, which srun and slurmstepd read each time."""
    before = native.run(["cat", PLUGSTACK], check=True).stdout
    native.put({PLUGSTACK: text})
    try:
        yield
    finally:
        native.put({PLUGSTACK: before})


def site(native: Native, words: str) -> contextlib.AbstractContextManager[None]:
    """The site's defaults."""
    return plugstack(native, f"optional {LIBRARY} {words}\n")


def assert_healthy(native: Native) -> None:
    """No daemon crashed and no node was drained, whatever was done to the plugin."""
    native.settle()
    crashes = native.run("grep -iE 'segfault|killed by signal|signal 11|stack smash' /var/log/slurm/*.log")
    assert crashes.stdout == ""


def has_plugin(native: Native, name: str) -> bool:
    """Whether this Slurm was built with it: JSON and Lua are choices of who builds Slurm."""
    folders = native.run("scontrol show config | sed -n 's/^PluginDir *= //p'", check=True).stdout.strip()
    return any(native.run(["test", "-e", f"{folder}/{name}.so"]).status == 0 for folder in folders.split(":"))


def last_job(native: Native) -> str:
    return native.run("squeue --noheader --states=all --format=%i | sort -n | tail -n1", check=True).stdout


def said_by_plugin(result: Result) -> str:
    return "\n".join(line for line in result.stderr.splitlines() if "numa-align" in line)
