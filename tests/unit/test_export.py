"""A binding in the syntax of other tools, and which GPUs are best used together."""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from builder import Device, Machine, on_nodes
from builder.recorded import answered, unanswered
from click.testing import CliRunner
from numa_align.cli.gpus import command as gpus_command
from numa_align.cli.show import command as show_command
from numa_align.cpulist import parse_cpulist
from numa_align.errors import NumaAlignError, RequestError
from numa_align.placement.choose_gpus import choose
from numa_align.placement.claim import Spec
from numa_align.placement.decide import share_of
from numa_align.placement.own import Own
from numa_align.topology.read import read_at
from numa_align.view.export import TOOLS
from numa_align.view.kubernetes import reserved_cpus
from unit.runner import runner

TWO = Machine(packages=2, cores=4, smt=2, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1), memory_bytes=64 << 30)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(TWO.write(tmp_path_factory.mktemp("two")))


def shown(root: str, gpus: str, tool: str, *more: str) -> str:
    """What is printed for the tool; the notes are in the JSON."""
    words = ["--root", root, "--gpus", gpus, "--as", tool, "--json", *more]
    result = runner().invoke(show_command, words, catch_exceptions=False)
    text: str = json.loads(result.stdout)["text"]
    return text


def test_options_of_each_tool(root: str) -> None:
    # Its own core of the four that four GPUs share.
    assert shown(root, "5", "numactl") == "--physcpubind=5,13 --preferred-many=1"
    assert shown(root, "4-7", "numactl") == "--physcpubind=4-7,12-15 --preferred-many=1"
    assert shown(root, "0,5", "numactl").endswith("--preferred-many=0-1")
    assert shown(root, "5", "numactl", "--numa-align", "mem=bind").endswith("--membind=1")
    assert shown(root, "5", "taskset") == "--cpu-list 5,13"
    assert shown(root, "5", "docker") == "--cpuset-cpus=5,13 --cpuset-mems=1 --gpus device=5"
    assert shown(root, "4,5", "docker").endswith("--gpus '\"device=4,5\"'")
    assert shown(root, "4", "podman").endswith("--cpuset-mems=1 --device=nvidia.com/gpu=4")
    assert shown(root, "5", "systemd").splitlines()[1:5] == [
        "[Service]", "CPUAffinity=5,13", "NUMAPolicy=preferred", "NUMAMask=1",
    ]  # fmt: skip
    assert "export NUMA_ALIGN_CPUS=5,13" in shown(root, "5", "env")


NPS4 = Machine(packages=2, nodes=4, cores=16, smt=2, gpus=on_nodes(3, 3, 1, 1, 7, 7, 5, 5))
#: Two GPUs on each of two nodes of a package, whose other nodes have none, as virtual machines show it.
ON_SOME_NODES = Machine(packages=2, nodes=2, cores=12, gpus=on_nodes(1, 1, 0, 0, 3, 3, 2, 2))


def cpus_of(root: Path, gpus: str, *more: str) -> tuple[set[int], str, int]:
    words = ["--root", str(root), "--gpus", gpus, "--as", "docker", "--json", *more]
    result = runner().invoke(show_command, words, catch_exceptions=False)
    options = dict(word.partition("=")[::2] for word in json.loads(result.stdout)["text"].split())
    return set(parse_cpulist(options["--cpuset-cpus"])), options.get("--cpuset-mems", ""), result.exit_code


def test_a_gpu_of_a_machine_cut_in_four_stays_on_its_node(tmp_path: Path) -> None:
    NPS4.write(tmp_path)
    node3, node1 = {*range(48, 64), *range(176, 192)}, {*range(16, 32), *range(144, 160)}
    for gpu, node, memory in (("0", node3, "3"), ("1", node3, "3"), ("2", node1, "1"), ("3", node1, "1")):
        cpus, mems, status = cpus_of(tmp_path, gpu)
        assert (cpus < node, len(cpus), mems, status) == (True, 16, memory, 0)
    assert cpus_of(tmp_path, "0,1") == (node3, "3", 0)
    assert cpus_of(tmp_path, "0", "--numa-align", "cpus=node") == (node3, "3", 0)


@pytest.mark.parametrize("machine", [TWO, NPS4, ON_SOME_NODES, replace(TWO, gpus=on_nodes(0, 0, 1))])
def test_distinct_gpus_get_distinct_cpus(machine: Machine, tmp_path: Path) -> None:
    machine.write(tmp_path)
    taken: set[int] = set()
    for gpu in range(len(machine.gpus)):
        cpus, _, _ = cpus_of(tmp_path, str(gpu))
        assert cpus and not cpus & taken
        taken |= cpus


def test_no_two_gpus_of_a_recorded_machine_share_a_core(recorded: Path) -> None:
    shared, looked_at = [], 0
    for root in [*(root for root, _ in answered(recorded)), *unanswered(recorded)]:
        topology = read_at(root)
        gpus = range(len(topology.gpus))
        if len(gpus) < 2 or len(topology.cores) < len(gpus):
            continue
        own = Own(topology.online, topology.online, tuple(node.id for node in topology.nodes))
        placed = [share_of(topology, own, Spec(on=True), (gpu,), gpus).placement for gpu in gpus]
        if not all(gpu.cpus for gpu in topology.gpus):
            # Their nodes are unknown: they have no share, and a note says so.
            assert {placement.state for placement in placed} == {"unaligned"}
            continue
        looked_at += 1
        cpus = [cpu for placement in placed for cpu in placement.cpus]
        if len(cpus) != len(set(cpus)) or {placement.state for placement in placed} != {"aligned"}:
            shared.append(root.name)
    assert shared == [] and looked_at > 20


def test_several_gpus_bring_the_map_that_workers_go_by(root: str) -> None:
    (line,) = (line for line in shown(root, "1,5", "env").splitlines() if "NUMA_ALIGN_MAP" in line)
    assert line == "export NUMA_ALIGN_MAP='0000:21:00.0=1,9@0;0000:61:00.0=5,13@1'"
    assert "NUMA_ALIGN_MAP" not in shown(root, "5", "env")


def test_a_share_is_not_compared_with_what_slurm_gave(root: str) -> None:
    assert "REASON" not in shown(root, "0,1", "env")


def test_the_form_that_others_share_is_said_to_be_shared(root: str) -> None:
    words = ["--root", root, "--gpus", "5", "--as", "docker"]
    shared = runner().invoke(show_command, [*words, "--numa-align", "cpus=node"], catch_exceptions=False)
    assert "GPUs 4, 6, 7 get the same CPUs" in shared.stderr
    assert "get the same CPUs" not in runner().invoke(show_command, words, catch_exceptions=False).stderr


def test_an_amd_gpu_goes_into_a_container_as_device_files(tmp_path: Path) -> None:
    machine = Machine(gpus=(Device(0, vendor=0x1002, device=0x740C, driver="amdgpu"),))
    text = shown(str(machine.write(tmp_path)), "0", "docker")
    assert "--device=/dev/kfd --device=/dev/dri/renderD128" in text and "--gpus" not in text


def test_kubernetes_reserves_whole_cores_and_pods_for_all_gpus_fit(root: str, tmp_path: Path) -> None:
    nine = replace(TWO, cores=9)
    assert reserved_cpus(nine.topology()) == (0, 9, 18, 27)
    text = shown(str(nine.write(tmp_path)), "0", "kubernetes")
    assert 'reservedSystemCPUs: "0,9,18,27"' in text and "topologyManagerPolicy: single-numa-node" in text
    cpu = int(text.partition('cpu: "')[2].partition('"')[0])
    memory = int(text.partition("memory: ")[2].partition("Mi")[0])
    # Eight cores of two threads are left for four GPUs.
    assert cpu * 4 == 16 and memory * 4 <= 64 * 1024
    assert "topologyManagerPolicy: restricted" in shown(root, "0,7", "kubernetes")


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_has_something_to_say_for_gpus_of_two_nodes(root: str, tool: str) -> None:
    assert shown(root, "3,4", tool)


def test_an_unknown_gpu_and_a_machine_without_gpus_are_a_line(root: str, tmp_path: Path) -> None:
    for place, says in (
        (root, "there is no GPU '9'"),
        (str(Machine().write(tmp_path)), "this machine has none"),
    ):
        with pytest.raises(NumaAlignError, match=says):
            shown(place, "9", "docker")


def test_a_pod_has_a_core_and_a_note_says_if_some_gpus_have_none(root: str) -> None:
    words = ["--root", root, "--gpus", "0", "--as", "kubernetes", "--json"]
    data = json.loads(CliRunner().invoke(show_command, words, catch_exceptions=False).output)
    # Three cores of two threads are left on its node, for four GPUs.
    assert 'cpu: "2"' in data["text"] and any("fewer cores" in note for note in data["notes"])


def test_a_gpu_of_unknown_node_is_not_reported_on_a_node(tmp_path: Path) -> None:
    lost = str(Machine(packages=2, gpus=on_nodes(None, None, source="none")).write(tmp_path))
    text = CliRunner().invoke(gpus_command, ["--root", lost, "2"], catch_exceptions=False).output
    assert "the NUMA node of these GPUs is unknown" in text and "None" not in text and "all on" not in text
    assert "--cpuset-mems" not in shown(lost, "0", "docker")
    with pytest.raises(RequestError, match="no Pod can be made to fit"):
        shown(lost, "0", "kubernetes")


def best(machine: Machine, count: int, switches: str = "") -> tuple[int, ...]:
    topology = machine.topology()
    letters = switches or "".join(chr(ord("a") + i) for i in range(len(topology.gpus)))
    bridges = {gpu.bdf: ("pci0000:00", switch) for gpu, switch in zip(topology.gpus, letters)}
    order = {gpu.bdf: i for i, gpu in enumerate(topology.gpus)}
    return tuple(order[gpu.bdf] for gpu in choose(topology, count, topology.gpus, bridges).gpus)


def test_two_and_four_are_on_one_node_and_more_are_divided_evenly() -> None:
    assert best(TWO, 2) == (0, 1)
    assert best(TWO, 4) == (0, 1, 2, 3)
    assert best(TWO, 6) == (0, 1, 2, 4, 5, 6)
    assert best(TWO, 8) == tuple(range(8))


def test_gpus_behind_one_switch_come_first() -> None:
    assert best(TWO, 2, "abbccddd") == (1, 2)
    assert best(TWO, 3, "aabbcccd") == (0, 1, 2)


def test_the_smaller_node_is_not_left_for_the_lower_number() -> None:
    assert best(Machine(packages=2, gpus=on_nodes(0, 1, 1)), 2) == (1, 2)


def test_near_nodes_are_taken_before_far_ones() -> None:
    assert best(Machine(packages=2, nodes=2, gpus=on_nodes(0, 2, 3)), 2) == (1, 2)


def test_too_many_and_none_are_a_line() -> None:
    with pytest.raises(RequestError, match="there are 8 GPUs"):
        best(TWO, 9)
    with pytest.raises(RequestError, match="no GPU"):
        best(Machine(), 1)


def test_the_first_line_is_a_list_for_other_commands(root: str) -> None:
    result = CliRunner().invoke(gpus_command, ["--root", root, "5"], catch_exceptions=False)
    assert result.output.splitlines()[0] == "0,1,2,4,5"
    assert "no node has 5 GPUs" in result.output and "4 would be" in result.output


# -- Some of the share, and what memory words come to --------------------------------------------


def test_so_many_whole_cores_near_each_gpu(tmp_path: Path) -> None:
    root = replace(NPS4, cores=16).write(tmp_path)
    assert cpus_of(root, "0", "--cpus", "3")[0] == {48, 49, 50, 176, 177, 178}
    # Two from each node, for GPUs of two nodes.
    assert cpus_of(root, "0,2", "--cpus", "4")[0] == {48, 49, 176, 177, 16, 17, 144, 145}
    with pytest.raises(RequestError, match="9 cores are more than the 8 that these GPUs have"):
        shown(str(root), "0", "docker", "--cpus", "9")
    shared = cpus_of(root, "0", "--cpus", "9", "--numa-align", "cpus=node")
    assert len(shared[0]) == 18
    assert "CPUS=48-50,176-178" in shown(str(root), "0", "env", "--cpus", "3")


@pytest.mark.parametrize("word", ["none", "local", "interleave"])
@pytest.mark.parametrize("tool", ["docker", "podman", "apptainer"])
def test_only_a_policy_that_names_nodes_becomes_a_hard_limit(root: str, tool: str, word: str) -> None:
    words = ["--root", root, "--gpus", "5", "--as", tool]
    result = runner().invoke(show_command, [*words, "--numa-align", f"mem={word}"], catch_exceptions=False)
    assert "cpuset-cpus" in result.stdout and "cpuset-mems" not in result.stdout
    assert "hard limit" not in result.stderr
    assert "hard limit" in runner().invoke(show_command, words, catch_exceptions=False).stderr


def test_a_limit_of_memory_is_the_share_of_the_nodes(root: str) -> None:
    # A tenth is the system's, four GPUs share the rest.
    whole = 64 << 10
    mib = (whole - whole // 10) // 4
    assert f"--memory={mib}m" in shown(root, "5", "docker", "--memory")
    assert f"MemoryMax={mib}M" in shown(root, "5", "systemd", "--memory")
    assert f"memory: {mib}M" in shown(root, "5", "compose", "--memory")
    words = ["--root", root, "--gpus", "5", "--as", "numactl", "--memory"]
    assert "no option that limits memory" in runner().invoke(show_command, words).stderr


# -- What the tools themselves say of it -----------------------------------------------------------


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed")
@pytest.mark.parametrize("gpus", ["5", "3,4"])
def test_docker_takes_its_options(root: str, gpus: str) -> None:
    def says(options: str) -> str:
        words = ["docker", "--host", "unix:///nonexistent.sock", "run", *shlex.split(options), "image"]
        return subprocess.run(words, capture_output=True, text=True, check=False).stderr

    assert "unknown flag" in says("--cpuset-none=1")
    said = says(shown(root, gpus, "docker", "--memory"))
    assert "flag" not in said.partition("Run 'docker")[0] and "connect" in said


@pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed")
@pytest.mark.parametrize("gpus", ["5", "3,4"])
def test_podman_takes_its_options(root: str, gpus: str) -> None:
    def says(options: str) -> str:
        words = ["podman", "create", "--pull=never", *shlex.split(options), "localhost/nothing"]
        return subprocess.run(words, capture_output=True, text=True, check=False).stderr

    assert "unknown flag" in says("--cpuset-none=1")
    assert "image not known" in says(shown(root, gpus, "podman", "--memory"))


def _compose_schema() -> Path:
    """That of Docker's own program, as its package for Python has it."""
    found = importlib.util.find_spec("compose")
    folders = found.submodule_search_locations if found else None
    schema = Path(folders[0]) / "config/compose_spec.json" if folders else None
    if schema is None or not schema.exists():
        pytest.skip("docker-compose's schema is not installed")
    return schema


@pytest.mark.parametrize("gpus", ["5", "4,5"])
def test_compose_s_schema_takes_its_file(root: str, gpus: str) -> None:
    yaml, jsonschema = pytest.importorskip("yaml"), pytest.importorskip("jsonschema")
    schema = jsonschema.Draft7Validator(json.loads(_compose_schema().read_text()))
    file = yaml.safe_load(shown(root, gpus, "compose", "--memory"))
    schema.validate(file)
    file["services"]["main"]["cpusets"] = "0"
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(file)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("words", [(), ("--numa-align", "mem=bind"), ("--numa-align", "mem=interleave")])
def test_systemd_takes_its_file(root: str, tmp_path: Path, words: tuple[str, ...]) -> None:
    def says(text: str) -> str:
        (unit := tmp_path / "near.service").write_text(f"{text}\nExecStart=/bin/true\n")
        command = ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", str(unit)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    assert "near.service:2: Failed to parse CPU affinity" in says("[Service]\nCPUAffinity=x")
    text = shown(root, "3,4", "systemd", "--memory", *words)
    assert "near.service" not in says(text)
    assert text.startswith("# /etc/systemd/system/NAME.service.d/")


def test_a_compose_file_has_the_cpus_and_the_gpus(root: str) -> None:
    yaml = pytest.importorskip("yaml")
    service = yaml.safe_load(shown(root, "4,5", "compose", "--memory"))["services"]["main"]
    assert service["cpuset"] == "4-5,12-13"
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "device_ids": ["4", "5"], "capabilities": ["gpu"]}


def test_other_makers_gpus_go_by_their_files(tmp_path: Path) -> None:
    amd = Machine(gpus=(Device(0, vendor=0x1002, device=0x740C, driver="amdgpu"),)).write(tmp_path / "amd")
    files = ["/dev/kfd", "/dev/dri/renderD128"]
    assert shown(str(amd), "0", "cdi").splitlines() == files
    assert shown(str(amd), "0", "enroot").endswith(" ".join(f"--mount {file}" for file in files))
    assert "--rocm --env ROCR_VISIBLE_DEVICES=0" in shown(str(amd), "0", "apptainer")
    assert f"- {files[1]}:{files[1]}" in shown(str(amd), "0", "compose")


def test_nvidias_gpus_go_by_the_names_of_its_cdi_file(root: str) -> None:
    assert shown(root, "4,5", "cdi").splitlines() == ["nvidia.com/gpu=4", "nvidia.com/gpu=5"]
    options = shown(root, "5", "apptainer")
    assert options.endswith("--nv --env CUDA_DEVICE_ORDER=PCI_BUS_ID --env CUDA_VISIBLE_DEVICES=5")
    assert "enroot start --env NVIDIA_VISIBLE_DEVICES=5" in shown(root, "5", "enroot")


def test_the_help_lists_every_tool() -> None:
    (tool,) = (option for option in show_command.params if option.name == "tool")
    assert tuple(getattr(tool.type, "choices", ())) == TOOLS
