"""`srun --container`: the OCI runtime and the program in the container start bound.

The runtime is a fake of a few lines, since the trees have none: it runs the process of config.json, without
namespaces. Slurm's part, which is to run it in the task's place, is real.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from e2e.steps import PROBE, ranks_of

from native import Native

from .asking import has_plugin

pytestmark = pytest.mark.native

RUNTIME = """#!/usr/bin/python3
import json, os, sys
if sys.argv[1] == "run":
    with open(sys.argv[2] + "/config.json") as file:
        process = json.load(file)["process"]
    environment = dict(entry.partition("=")[::2] for entry in process["env"])
    os.execvpe(process["args"][0], process["args"], environment)
"""
OCI_CONF = """\
RunTimeQuery="/opt/fake-runtime query"
RunTimeKill="/opt/fake-runtime kill"
RunTimeDelete="/opt/fake-runtime delete"
RunTimeRun="/opt/fake-runtime run %b"
"""
BUNDLE = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False,
        "user": {"uid": 1000, "gid": 1000},
        "args": ["/bin/false"],  # srun's command comes in its place
        "env": ["PATH=/usr/bin:/bin"],
        "cwd": "/",
    },
    "root": {"path": "rootfs"},
    "mounts": [],
    "linux": {"namespaces": []},
}


@pytest.fixture(scope="module")
def containers(native: Native) -> Iterator[Native]:
    if not has_plugin(native, "serializer_json"):
        pytest.skip("this Slurm is built without JSON, which bundles are written in")
    native.put({"/opt/fake-runtime": RUNTIME}, mode=0o755)
    native.put({"/etc/slurm/oci.conf": OCI_CONF, "/opt/bundle/config.json": json.dumps(BUNDLE)})
    native.run("mkdir /opt/bundle/rootfs && chown -R user /opt/bundle", check=True)
    native.configure(native.config)
    yield native
    native.run("rm -r /etc/slurm/oci.conf /opt/bundle", check=True)
    native.configure(native.config)


def test_a_container_is_bound_like_a_program(containers: Native) -> None:
    command = f"srun --numa-align=verbose -n1 --gpus=1 --container=/opt/bundle {PROBE}"
    result = containers.run(command, user="user", check=True)
    (rank,) = ranks_of(result)
    assert (rank.mode, rank.nodes) == ("preferred-many", (0,))
    assert len(rank.cpus) == containers.topology.threads
    assert "task 0: aligned gpus=" in result.stderr
    # 22.05 writes the container's environment before the plugin sets its variables.
    seen = None if containers.slurm == "22.05" else "aligned"
    assert rank.environment.get("NUMA_ALIGN_STATE") == seen
