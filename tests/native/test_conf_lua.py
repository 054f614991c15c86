"""The cli_filter of ``numa-align conf lua`` in real sbatch: binding is enforced for the right jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from numa_align_conf.others import cli_filter_lua
from numa_align_conf.version import parse_version

from native import Native

from .asking import has_plugin

ASKED = {
    "": "none",
    "--numa-align": "Yes",
    "--numa-align=mem=bind": "Yes",
    "--numa-align=off": "none",
    "--numa-align --gres-flags=disable-binding": "No",
}


def test_only_what_asks_for_numa_align_gets_near_cores_only(native: Native) -> None:
    if not has_plugin(native, "cli_filter_lua"):
        pytest.skip("this Slurm is built without Lua")
    before = native.config
    native.put({"/etc/slurm/cli_filter.lua": cli_filter_lua(parse_version(native.slurm))})
    try:
        native.configure(replace(before, slurm_extra=("CliFilterPlugins=lua",)))
        assert {words: enforced(native, words) for words in ASKED} == ASKED
    finally:
        native.configure(before)


def enforced(native: Native, words: str) -> str:
    """GresEnforceBind of a held job, as scontrol shows it."""
    line = f"sbatch --parsable -H {words} --gpus=1 -o /dev/null --wrap true"
    job = native.run(line, user="user", cwd="/tmp", check=True).stdout.strip()
    shown = native.run(["scontrol", "show", "job", job], check=True).stdout
    native.run(["scancel", job], check=True)
    return shown.partition("GresEnforceBind=")[2].split("\n")[0] or "none"
