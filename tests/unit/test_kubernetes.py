"""What `show --as kubernetes` prints, against Kubernetes' schemas and the kubelet's own rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builder import Machine, on_nodes
from builder.recorded import answered, unanswered
from click.testing import CliRunner
from numa_align.cli.show import command
from numa_align.errors import RequestError
from numa_align.topology.read import read_at

yaml = pytest.importorskip("yaml")
schemas = pytest.importorskip("kubernetes_validate")

TWO = Machine(packages=2, cores=8, smt=2, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1), memory_bytes=64 << 30)
#: As in kubelet.config.k8s.io/v1beta1 (staging/src/k8s.io/kubelet/config/v1beta1/types.go), which no package
#: has as a schema: the fields that are used here, and their types.
FIELDS: dict[str, type] = {
    "apiVersion": str, "kind": str, "cpuManagerPolicy": str, "cpuManagerPolicyOptions": dict,
    "reservedSystemCPUs": str, "topologyManagerPolicy": str, "topologyManagerPolicyOptions": dict,
    "topologyManagerScope": str, "memoryManagerPolicy": str, "kubeReserved": dict, "systemReserved": dict,
    "evictionHard": dict, "reservedMemory": list,
}  # fmt: skip


def printed(root: Path, gpus: str, tool: str, *more: str) -> tuple[list[dict[str, Any]], list[str]]:
    words = ["--root", str(root), "--gpus", gpus, "--as", tool, "--json", *more]
    data = json.loads(CliRunner().invoke(command, words, catch_exceptions=False).stdout)
    return list(yaml.safe_load_all(data["text"])), data["notes"]


def refusal_of_kubelet(config: dict[str, Any], node_directories: set[int]) -> str:
    """A twin of what stops the kubelet (cm/topologymanager, cm/memorymanager, apis/config/validation)."""
    options = config.get("topologyManagerPolicyOptions", {})
    most = int(options.get("max-allowable-numa-nodes", "8"))
    by_node = {entry["numaNode"]: mib(entry["limits"]["memory"]) for entry in config["reservedMemory"]}
    by_purpose = mib(config["kubeReserved"]["memory"]) + mib(config["systemReserved"]["memory"])
    texts = [*options.values(), *config.get("cpuManagerPolicyOptions", {}).values()]
    checks = {
        "a field of another type": all(isinstance(value, FIELDS[name]) for name, value in config.items()),
        "options are strings": all(isinstance(text, str) for text in texts),
        "unsupported on machines with more NUMA Nodes": len(node_directories) <= most,
        "the minimum value of max-allowable-numa-nodes is 8": most >= 8,
        "a NUMA node that does not exist": set(by_node) <= node_directories,
        "a NUMA node twice": len(by_node) == len(config["reservedMemory"]),
        "the total amount is not equal to the value determined by Node Allocatable": (
            sum(by_node.values()) == by_purpose + mib(config["evictionHard"]["memory.available"])
        ),
    }
    return next((words for words, holds in checks.items() if not holds), "")


def mib(quantity: str) -> int:
    assert quantity.endswith("Mi")
    return int(quantity[:-2])


def machines(recorded: Path) -> Iterator[Path]:
    for root in [*(root for root, _ in answered(recorded)), *unanswered(recorded)]:
        topology = read_at(root)
        if topology.gpus and all(gpu.node is not None for gpu in topology.gpus):
            yield root


def test_no_recorded_machine_stops_the_kubelet_and_no_pod_is_refused(recorded: Path) -> None:
    seen = 0
    for root in machines(recorded):
        (config, pod), _ = printed(root, "0", "kubernetes")
        folders = {int(path.name[4:]) for path in (root / "sys/devices/system/node").glob("node[0-9]*")}
        assert refusal_of_kubelet(config, folders) == "", root.name
        schemas.validate(pod, schemas.latest_version(), strict=True)
        (claim,), _ = printed(root, "0", "kubernetes-dra")
        schemas.validate(claim, schemas.latest_version(), strict=True)
        seen += 1
    assert seen > 25


def test_the_twin_of_the_kubelet_refuses_what_the_kubelet_does(tmp_path: Path) -> None:
    (config, _), _ = printed(TWO.write(tmp_path), "0", "kubernetes")
    assert refusal_of_kubelet(config, {0, 1}) == ""
    assert "more NUMA Nodes" in refusal_of_kubelet(config, set(range(34)))
    assert "not equal" in refusal_of_kubelet({**config, "kubeReserved": {"memory": "1Mi"}}, {0, 1})
    assert "does not exist" in refusal_of_kubelet(config, {0})


def test_every_node_directory_counts_and_memory_of_gpus_is_no_pods(recorded: Path) -> None:
    (config, _), notes = printed(recorded / "derived-trees/gb200-4gpu-cdmm", "0", "kubernetes")
    assert config["topologyManagerPolicyOptions"]["max-allowable-numa-nodes"] == "34"
    assert any("2 to the power of 34" in note for note in notes)
    root = recorded / "hwloc-linux/nvidiagpunumanodes"
    (root,) = (path for path in machines(recorded) if path.is_relative_to(root))
    (config, _), notes = printed(root, "0", "kubernetes")
    nodes = {node.id: node for node in read_at(root).nodes}
    reserved = {entry["numaNode"]: mib(entry["limits"]["memory"]) for entry in config["reservedMemory"]}
    whole = {id for id, node in nodes.items() if node.kind == "gpu-memory" and node.memory_bytes}
    assert whole and all(reserved[id] == nodes[id].memory_bytes >> 20 for id in whole)


def test_pods_for_all_gpus_fit_beside_what_is_reserved(tmp_path: Path) -> None:
    (config, pod), _ = printed(TWO.write(tmp_path), "0", "kubernetes")
    (container,) = pod["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert container["resources"]["requests"] == limits and limits["nvidia.com/gpu"] == "1"
    reserved = {entry["numaNode"]: mib(entry["limits"]["memory"]) for entry in config["reservedMemory"]}
    assert 4 * mib(limits["memory"]) + reserved[0] <= 64 << 10
    assert 4 * int(limits["cpu"]) <= 16 - 2
    assert container["env"] == [{"name": "OMP_NUM_THREADS", "value": "1"}]
    shm = pod["spec"]["volumes"][0]["emptyDir"]
    assert shm["medium"] == "Memory" and mib(shm["sizeLimit"]) < mib(limits["memory"])


def test_some_cores_of_a_pods_share(tmp_path: Path) -> None:
    root = replace(TWO, cores=17).write(tmp_path)
    (_, pod), _ = printed(root, "0", "kubernetes", "--cpus", "3")
    assert pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "6"
    with pytest.raises(RequestError, match="5 cores are more than"):
        printed(root, "0", "kubernetes", "--cpus", "5", "--numa-align", "cpus=node")


def test_a_claim_asks_for_one_node_where_there_is_one(tmp_path: Path) -> None:
    root = TWO.write(tmp_path)
    (claim,), notes = printed(root, "0,1", "kubernetes-dra")
    (constraint,) = claim["spec"]["spec"]["devices"]["constraints"]
    assert constraint["matchAttribute"] == "resource.kubernetes.io/numaNode"
    assert constraint["requests"] == [one["name"] for one in claim["spec"]["spec"]["devices"]["requests"]]
    assert any("does not see devices of DRA" in note for note in notes)
    (claim,), notes = printed(root, "0,7", "kubernetes-dra")
    assert "constraints" not in claim["spec"]["spec"]["devices"]
