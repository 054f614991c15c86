"""Pinned memory, which GPUs read, follows the policy of the task and counts as the task's memory."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from gpu.cluster import FOLDER, NOBODY, Cluster

PROGRAM = Path(__file__).with_name("pinned.py")
MIB = 256
WAYS = [
    "torch",
    pytest.param(
        "cupy", marks=pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="no CuPy here")
    ),
    "loader",
]


def pinned(cluster: Cluster, words: str, way: str) -> dict[str, Any]:
    cluster.put("pinned.py", PROGRAM.read_bytes())
    command = shlex.join([sys.executable, f"{FOLDER}/pinned.py", way, f"--mib={MIB}"])
    done = cluster.run(f"srun {words} -n1 -c4 --gpus=1 {command}", user=NOBODY, timeout=240, check=True)
    print(f"$ srun {words} {way}\n{done.stdout}{done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("words", "policy"),
    [
        ("--numa-align", "prefer-many"),
        ("--numa-align=mem=bind", "bind"),
        ("--numa-align=mem=interleave", "interleave"),
        ("--numa-align=mem=none", "default"),
    ],
)
def test_pinned_memory_follows_the_policy_and_counts(
    cluster: Cluster, words: str, policy: str, way: str
) -> None:
    report = pinned(cluster, words, way)
    by_policy = {name.partition(":")[0].partition("=")[0]: size for name, size in report["by_policy"].items()}
    assert by_policy.get(policy, 0) >= MIB << 20
    counted = sum(report["check"]["shared_by_node"].values())
    assert counted == pytest.approx(sum(report["by_policy"].values()), rel=0.1)
