"""The resolver against the real driver: its files and NVML tell the same."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from numa_align.cpulist import parse_cpulist
from numa_align.topology.gpu.pci import normalise_bdf
from numa_align.topology.model import Gpu
from numa_align.topology.read import read_here

from gpu.driver import by_nvml, topology_json, without_files

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="hiding the driver's files needs root")


def test_the_driver_s_files_and_nvml_name_the_same_gpus(gpus: tuple[Gpu, ...]) -> None:
    ours = [(gpu.bdf, gpu.minor, gpu.uuid, gpu.model) for gpu in gpus if gpu.vendor == "nvidia"]
    theirs = [(normalise_bdf(d.bus_id), d.minor, d.uuid, d.name) for d in by_nvml()]
    assert ours == theirs


def test_nvml_s_domain_has_eight_digits_and_ours_four(gpus: tuple[Gpu, ...]) -> None:
    bus_ids = [device.bus_id for device in by_nvml()]
    assert all(re.fullmatch(r"[0-9A-F]{8}:[0-9A-F]{2}:[0-9A-F]{2}\.0", bus_id) for bus_id in bus_ids), bus_ids
    for gpu, bus_id in zip(gpus, bus_ids):
        assert re.fullmatch(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.0", gpu.bdf)
        assert gpu.bdf.zfill(len(bus_id)) == bus_id.lower()


@root_only
def test_without_the_driver_s_files_the_whole_topology_is_the_same() -> None:
    assert topology_json(with_files=False) == topology_json()


@root_only
def test_without_the_driver_s_files_it_is_nvml_that_answers() -> None:
    """Blocking NVML's module has to have an effect: otherwise the test above compares nothing."""
    program = (
        "import sys; sys.modules['pynvml'] = None\n"
        "from numa_align.topology.read import read_here\n"
        "print([gpu.minor for gpu in read_here().gpus])"
    )
    minors = json.loads(without_files([sys.executable, "-c", program]).replace("None", "null"))
    assert minors and set(minors) == {None}


def test_every_gpu_has_its_device_file(gpus: tuple[Gpu, ...]) -> None:
    for gpu in gpus:
        assert gpu.device is not None
        status = os.stat(gpu.device)  # noqa: PTH116
        assert stat.S_ISCHR(status.st_mode)
        assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == (195, gpu.minor)


def test_a_gpu_that_says_no_node_is_on_the_only_node_or_on_none(gpus: tuple[Gpu, ...]) -> None:
    nodes = [node for node in read_here().nodes if node.cpus]
    for gpu in gpus:
        said = int(Path(f"/sys/bus/pci/devices/{gpu.bdf}/numa_node").read_text(encoding="ascii"))
        if said >= 0:
            assert (gpu.node, gpu.source) == (said, "numa_node")
        elif len(nodes) == 1:
            assert (gpu.node, gpu.source) == (nodes[0].id, "only-node")
        else:
            assert gpu.source in ("local_cpulist", "bridge", "override", "none")


@pytest.mark.gpus(2)
def test_a_plan_gives_two_tasks_a_gpu_and_its_own_cpus_each() -> None:
    command = [sys.executable, "-m", "numa_align", "plan", "-n2", "--gpus=0,1", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    tasks = json.loads(done.stdout)["tasks"]
    assert [task["state"] for task in tasks] == ["aligned", "aligned"]
    assert [len(task["gpus"]) for task in tasks] == [1, 1]
    assert tasks[0]["gpus"] != tasks[1]["gpus"]
    assert not set(parse_cpulist(tasks[0]["cpus"])) & set(parse_cpulist(tasks[1]["cpus"]))
