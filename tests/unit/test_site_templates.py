"""Files of the kinds that deployment tools write: doctor reads them all, --diff changes what is theirs.

The kinds are those of tools for clouds, containers and racks; the files are written for this test.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from builder import Machine, on_nodes
from click.testing import CliRunner
from numa_align_conf.cli import conf, doctor

MACHINE = Machine(
    packages=2, cores=48, smt=2, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1, model="NVIDIA H100 80GB")
)
HEAD = "ClusterName=t\nSlurmctldHost=ctl\nSelectType=select/cons_tres\nTaskPlugin=task/affinity,task/cgroup\n"
SHAPE = "Sockets=2 CoresPerSocket=48 ThreadsPerCore=2 RealMemory=1000"
NEAR = "Name=gpu{} File=/dev/nvidia[0-3] Cores=0-47\nName=gpu{} File=/dev/nvidia[4-7] Cores=48-95\n"


class Site(NamedTuple):
    """``wrong``: what doctor says of GPUs and nodes."""

    node: str
    files: dict[str, str]
    wrong: tuple[str, ...] = ()


SITES = {
    "files of a cloud that include each other, with nodes that come and go": Site(
        "queue1-dy-big-2",
        {
            "slurm.conf": f"{HEAD}GresTypes=gpu\ninclude cloud/all.conf\n",
            "cloud/all.conf": "SuspendTime=600\ninclude cloud/queue1.conf\n",
            "cloud/queue1.conf": (
                f"NodeName=queue1-dy-big-[1-4] {SHAPE} State=CLOUD Feature=dynamic,big Gres=gpu:h100:8\n"
                "NodeSet=queue1_nodes Nodes=queue1-dy-big-[1-4]\n"
                "PartitionName=queue1 Nodes=queue1_nodes MaxTime=INFINITE State=UP\n"
            ),
            "gres.conf": "include cloud/gres.conf\n",
            "cloud/gres.conf": "NodeName=queue1-dy-big-[1-4] Name=gpu Type=h100 File=/dev/nvidia[0-7]\n",
        },
        ("gres-cores-missing",),
    ),
    "nodes that register themselves, and one line that detects": Site(
        "pool-0",
        {
            "slurm.conf": f"{HEAD}GresTypes=gpu\nMaxNodeCount=1024\nTreeWidth=65533\n",
            "gres.conf": "AutoDetect=nvidia\n",
        },
    ),
    "a generated part with DEFAULT, and CPUs that are cores": Site(
        "c-gpu-3",
        {
            "slurm.conf": f"{HEAD}GresTypes=gpu\ninclude generated.conf\n",
            "generated.conf": (
                "# Written by a program; changes are lost.\n"
                "NodeName=DEFAULT State=UNKNOWN RealMemory=1000 Boards=1 SocketsPerBoard=2 CoresPerSocket=48 "
                "ThreadsPerCore=2 CPUs=96\nNodeName=c-gpu-[0-9] State=CLOUD Gres=gpu:8\n"
            ),
            "gres.conf": "NodeName=c-gpu-[0-9] Name=gpu File=/dev/nvidia[0-7]\n",
        },
        ("gres-cores-missing",),
    ),
    "one line for all racks": Site(
        "rack1-07",
        {
            "slurm.conf": f"{HEAD}GresTypes=gpu\nNodeName=rack[1-2]-[01-40] {SHAPE} Gres=gpu:8\n",
            "gres.conf": "AutoDetect=nvml\n",
        },
    ),
    "lines for each node with its type": Site(
        "n2",
        {
            "slurm.conf": f"{HEAD}GresTypes=gpu,mps\nNodeName=n[1-3] {SHAPE} Gres=gpu:h100:8,mps:800\n",
            "gres.conf": NEAR.format(" Type=h100", " Type=h100") + "Name=mps Count=800\n",
        },
    ),
    "shards beside": Site(
        "n2",
        {
            "slurm.conf": f"{HEAD}GresTypes=gpu,shard\nNodeName=n[1-3] {SHAPE} Gres=gpu:8,shard:64\n",
            "gres.conf": NEAR.format("", "") + "Name=shard Count=64\n",
        },
    ),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MACHINE.write(tmp_path_factory.mktemp("templates") / "machine")


def written(site: Site, folder: Path) -> Path:
    for name, text in site.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder / "slurm.conf"


@pytest.mark.parametrize("kind", SITES)
def test_doctor_says_what_is_wrong_and_nothing_else(kind: str, root: Path, tmp_path: Path) -> None:
    site = SITES[kind]
    words = ["--root", str(root), "--slurm-conf", str(written(site, tmp_path)), "--node-name", site.node]
    result = CliRunner().invoke(doctor.command, [*words, "--slurm-version", "25.05", "--json"])
    findings = json.loads(result.output)["findings"]
    about = ("gres", "node", "slurm-conf", "numa-sockets")
    wrong = [one for one in findings if one["status"] != "ok" and one["check"].startswith(about)]
    assert tuple(one["check"] for one in wrong) == site.wrong, wrong


@pytest.mark.parametrize("kind", SITES)
def test_no_line_of_the_sites_nodes_is_changed(kind: str, root: Path, tmp_path: Path) -> None:
    site = SITES[kind]
    words = ["slurm", "--root", str(root), "--node", site.node, "--slurm-version", "25.05", "--diff"]
    result = CliRunner().invoke(conf.command, [*words, str(written(site, tmp_path))])
    assert result.exit_code == 0, result.exception
    changed = [
        line for line in result.output.splitlines() if line[1:].startswith("NodeName=") and line[0] in "+-"
    ]
    assert changed == []
