"""`numa-align audit --all` with the real sinfo, squeue and srun."""

from __future__ import annotations

import json

import pytest
from e2e.steps import allocated
from numa_align.audit.gather import with_gpus

from native import Native

pytestmark = pytest.mark.native


def test_nodes_with_gpus_are_read_from_what_sinfo_prints(native: Native) -> None:
    said = native.run(["sinfo", "--noheader", "--Node", "--responding", "--format=%N|%G"], check=True).stdout
    assert with_gpus(said.splitlines()) == {"node1"}, said


def test_without_clustershell_a_user_sees_the_nodes_of_his_jobs(native: Native) -> None:
    hide = "PYTHONPATH=/tmp/without"  # a package of that name that cannot be imported
    native.put({"/tmp/without/ClusterShell/__init__.py": "raise ImportError\n"})
    command = f"env {hide} numa-align audit --all --json"
    nothing = native.run(command, user="user")
    assert nothing.status != 0 and "no running job" in nothing.stderr, nothing.stderr
    with allocated(native, "-n2 --gpus=2"):
        done = native.run(command, user="user", check=True)
    assert [json.loads(line)["node"] for line in done.stdout.splitlines()] == ["node1"], done.stderr
    assert done.stderr == ""
