"""``numa-align conf``: core numbers as Slurm counts them, in words that its version accepts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Optional

import pytest
from builder import Device, Machine, on_nodes
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from numa_align.cpulist import parse_cpulist
from numa_align.errors import ConfError, NumaAlignError
from numa_align.topology.model import Core, Topology
from numa_align_conf.cli.conf import command
from numa_align_conf.facts import Kind
from numa_align_conf.facts import NodeFacts as Facts
from numa_align_conf.gres import gres_conf, layouts, type_of_model
from numa_align_conf.layout import accepted, layout_of
from numa_align_conf.slurm import slurm_conf
from numa_align_conf.version import KNOWN, Version, parse_version
from unit.runner import runner

V22, V24, V26 = Version(22, 5), Version(24, 11), Version(26, 5)

TWO = Machine(packages=2, cores=8, smt=2, gpus=on_nodes(0, 0, 1, 1))
NPS4 = Machine(packages=2, nodes=4, cores=4, gpus=on_nodes(3, 1, 7, 5))


def kind(machine: Machine | Topology, *names: str, **facts: object) -> Kind:
    topology = machine.topology() if isinstance(machine, Machine) else machine
    return Kind(names or ("n1",), Facts(topology, **facts), 1000)  # type: ignore[arg-type]


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def gpu_lines(machine: Machine, version: Version) -> list[str]:
    return [line.partition(" Type=")[2] for line in lines(gres_conf([kind(machine)], version))]


@pytest.mark.parametrize("version", KNOWN)
def test_cores_are_cores_and_not_threads(version: Version) -> None:
    expected = ["model_1 File=/dev/nvidia[0-1] Cores=0-7", "model_1 File=/dev/nvidia[2-3] Cores=8-15"]
    assert gpu_lines(TWO, version) == [f"{line} Flags=nvidia_gpu_env" for line in expected]


@pytest.mark.parametrize("version", KNOWN)
def test_nodes_smaller_than_packages_become_sockets(version: Version) -> None:
    assert re.findall(r"Cores=(\S+)", gres_conf([kind(NPS4)], version)) == ["12-15", "4-7", "28-31", "20-23"]
    text = slurm_conf([kind(NPS4)], version)
    assert "SocketsPerBoard=8 CoresPerSocket=4 ThreadsPerCore=1" in text
    everywhere = "\nSlurmdParameters=numa_node_as_socket\n" in text
    here = " Parameters=numa_node_as_socket " in text
    assert (everywhere, here) == ((False, True) if version >= (25, 11) else (True, False))


def test_before_25_11_one_kind_with_small_nodes_makes_all_count_nodes() -> None:
    one_node = Machine(packages=2, nodes=1, has_node_directory=False, cores=8)
    kinds = [kind(NPS4, "a"), kind(one_node, "b")]
    assert [len(layout.sockets) for layout in layouts(kinds, V24)] == [8, 1]
    assert [len(layout.sockets) for layout in layouts(kinds, V26)] == [8, 2]


def test_one_gpu_of_unknown_place_counts_every_core_as_near() -> None:
    machine = Machine(packages=2, cores=4, gpus=(Device(0), Device(None, source="none")))
    text = gres_conf([kind(machine)], V26)
    assert re.findall(r"Cores=(\S+)", text) == ["0-3", "0-7"]
    assert "/dev/nvidia1): its NUMA node is not known" in text


def test_when_no_gpu_has_a_place_cores_are_left_out_with_the_reason() -> None:
    text = gres_conf([kind(Machine(packages=2, gpus=on_nodes(None, None, source="none")))], V24)
    assert "Cores=" not in "".join(lines(text))
    assert "No Cores=: the NUMA node of no GPU is known" in text


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (Machine(packages=2, cores=4, offline=(3,), gpus=on_nodes(0, 1)), "CPUs are offline"),
        (Machine(packages=2, cores=4, smt=2, offline=(15,), gpus=on_nodes(0, 1)), "1 to 2 threads"),
        (Machine(packages=2, cores=4, offline=(7,), gpus=on_nodes(0, 1)), "3 to 4 cores"),
    ],
)
def test_where_slurms_numbers_do_not_hold_cores_are_left_out(machine: Machine, reason: str) -> None:
    text = gres_conf([kind(machine)], V24)
    assert "Cores=" not in "".join(lines(text))
    assert reason in text.replace("\n# ", " ")


@pytest.mark.parametrize("version", [V22, V24])
def test_nodes_of_different_size_are_told_apart_by_their_caches(version: Version) -> None:
    text = slurm_conf([kind(uneven(caches=True))], version)
    assert "\nSlurmdParameters=l3cache_as_socket\n" in text
    assert "SocketsPerBoard=3 CoresPerSocket=2 ThreadsPerCore=1" in text
    written = gres_conf([kind(uneven(caches=True))], version)
    assert re.findall(r"Cores=(\S+)", written) == ["0-3", "4-5"]
    assert "l3cache_as_socket" in written


def test_where_one_socket_is_all_that_is_taken_caches_do_not_help() -> None:
    """Four cores of two caches are two sockets, which 25.11 and later refuse."""
    text = gres_conf([kind(uneven(caches=True))], V26)
    assert re.findall(r"Cores=(\S+)", text) == ["0-5"]
    assert "l3cache_as_socket" not in text + slurm_conf([kind(uneven(caches=True))], V26)


def test_cores_without_a_known_cache_are_no_sockets() -> None:
    text = slurm_conf([kind(uneven(caches=False))], V24)
    assert "l3cache_as_socket" not in text
    assert "SocketsPerBoard=1 CoresPerSocket=6" in text


def uneven(*, caches: bool) -> Topology:
    """A package with nodes of four and of two cores, and a cache to each two cores; a GPU at each node."""
    base = Machine(packages=1, nodes=2, cores=3, gpus=on_nodes(0, 1)).topology()
    first, second = tuple(range(4)), (4, 5)
    cores = tuple(Core((cpu,), int(cpu > 3), 0, cpu // 2 * 2 if caches else cpu) for cpu in range(6))
    gpus = tuple(gpu._replace(cpus=cpus) for gpu, cpus in zip(base.gpus, (first, second)))
    nodes = tuple(node._replace(cpus=cpus) for node, cpus in zip(base.nodes, (first, second)))
    return Topology(base.online, nodes, base.distances, cores, gpus)


def test_a_gpu_without_a_device_file_is_in_neither_file() -> None:
    base = TWO.topology()
    gpus = (*base.gpus[:3], base.gpus[3]._replace(minor=None, device=None))
    one = kind(base._replace(gpus=gpus))
    text = gres_conf([one], V24)
    assert [line.partition("File=")[2].split()[0] for line in lines(text)] == [
        "/dev/nvidia[0-1]",
        "/dev/nvidia2",
    ]
    assert f"GPU {gpus[3].bdf} is left out: it has no device file" in text
    assert "Gres=gpu:model_1:3\n" in slurm_conf([one], V24)


@pytest.mark.parametrize(("vendor", "detector"), [("nvidia", "nvml"), ("amd", "rsmi")])
def test_where_no_device_file_is_known_detection_is_proposed(vendor: str, detector: str) -> None:
    base = TWO.topology()
    gpus = tuple(gpu._replace(vendor=vendor, minor=None, device=None, model=None) for gpu in base.gpus)
    one = kind(base._replace(gpus=gpus))
    text = gres_conf([one], V24)
    assert lines(text) == [f"NodeName=n1 AutoDetect={detector}"]
    assert "no device file is known" in text
    assert "Gres=gpu:4\n" in slurm_conf([one], V24)


def test_gpus_stand_in_the_order_of_their_addresses() -> None:
    gpus = tuple(Device(node, minor=minor) for node, minor in ((0, 2), (0, 3), (1, 0), (1, 1)))
    text = gres_conf([kind(Machine(packages=2, gpus=gpus))], V24)
    assert re.findall(r"File=(\S+)", text) == ["/dev/nvidia[2-3]", "/dev/nvidia[0-1]"]


def test_links_take_a_line_each() -> None:
    links = ((0, 4, 0, 0), (4, 0, 0, 0), (0, 0, 0, 4), (0, 0, 4, 0))
    text = gres_conf([kind(TWO, links=links)], V24)
    assert re.findall(r"Links=(\S+)", text) == ["-1,4,0,0", "4,-1,0,0", "0,0,-1,4", "0,0,4,-1"]
    assert "Links=" not in gres_conf([kind(TWO, links=((0,) * 4,) * 4)], V24)


def test_mig_is_left_to_nvml() -> None:
    text = gres_conf([kind(TWO, divided=frozenset({1}))], V24)
    assert lines(text) == ["NodeName=n1 AutoDetect=nvml"]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("Tesla V100-SXM2-32GB", "v100"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA GeForce RTX 4090", "rtx_4090"),
        ("AMD Instinct MI250X", "mi250x"),
        ("NVIDIA H100 PCIe", "h100"),
        ("NVIDIA L40S", "l40s"),
    ],
)
def test_types_are_short(model: str, name: str) -> None:
    assert type_of_model(model) == name


def test_two_types_are_counted_apart() -> None:
    gpus = (*on_nodes(0, 0, model="NVIDIA H100 PCIe"), *on_nodes(1, model="NVIDIA L40S"))
    text = slurm_conf([kind(Machine(packages=2, gpus=gpus))], V24)
    assert "Gres=gpu:h100:2,gpu:l40s:1" in text


@pytest.mark.parametrize("version", KNOWN)
def test_only_words_that_the_version_knows(version: Version) -> None:
    text = slurm_conf([kind(TWO)], version)
    assert ("\nSelectTypeParameters=CR_Core,ENFORCE_BINDING_GRES\n" in text) == (version >= (23, 11))
    assert ("\nPrologEpilogTimeout=" in text) == (version < (25, 5))
    assert ("\nPrologTimeout=" in text) == (version >= (25, 5))
    # slurmctld of 26.11 compares the two, and warns at each start.
    assert ("\nBatchStartTimeout=60\n" in text) == (version >= (26, 11))


@pytest.mark.parametrize("part", ["plugstack", "cgroup"])
def test_what_is_alike_everywhere_asks_for_no_release(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("numa_align_conf.version.command", lambda name: None)
    (tmp_path / "nothing").mkdir()
    result = runner().invoke(command, [part, "--root", str(tmp_path / "nothing")])
    assert result.exit_code == 0 and result.stderr == ""
    said = json.loads(CliRunner().invoke(command, [part, "--json"]).output)
    assert said["slurm_version"] is None and said["text"] == result.stdout
    result = CliRunner().invoke(command, ["slurm", "--node", "n1"])
    assert "release is not known" in str(result.exception)


SMALL = st.builds(
    lambda packages, nodes, caches, cores, smt, gpus, apart: Machine(
        packages=packages, nodes=nodes, caches=caches, cores=cores, smt=smt, siblings_apart=apart,
        gpus=on_nodes(*(gpu % (packages * nodes) for gpu in gpus)),
    ),
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4),
    st.lists(st.integers(0, 15), min_size=1, max_size=8), st.booleans(),
)  # fmt: skip


@given(machine=SMALL, version=st.sampled_from(KNOWN))
@settings(max_examples=150, deadline=None)
def test_cores_of_regular_machines_are_the_gpus_node_and_accepted(machine: Machine, version: Version) -> None:
    topology = machine.topology()
    one = kind(topology)
    layout = layouts([one], version)[0]
    written: dict[Optional[int], tuple[int, ...]] = {}
    for line in lines(gres_conf([one], version)):
        files, cores = re.findall(r"File=/dev/nvidia\[?([\d,-]+)\]? Cores=(\S+)", line)[0]
        written.update(dict.fromkeys(parse_cpulist(files), parse_cpulist(cores)))
    for gpu in topology.gpus:
        numbers = written[gpu.minor]
        assert accepted(layout, numbers, version) is None
        cpus = {cpu for number in numbers for cpu in layout.cores[number].cpus}
        assert cpus == set(gpu.cpus)


def test_hwloc_counts_the_cores_of_a_node_before_those_of_the_next() -> None:
    """CPU numbers that alternate between the nodes of a package, as with sub-NUMA clustering."""
    base = Machine(packages=1, nodes=2, cores=4).topology()
    cores = tuple(type(core)(core.cpus, core.cpus[0] % 2, 0, core.cpus[0] % 2) for core in base.cores)
    swapped = Topology(base.online, base.nodes, base.distances, cores, ())
    for which in ("package", "numa"):
        order = [core.cpus[0] for core in layout_of(swapped, which).cores]
        assert order == [0, 2, 4, 6, 1, 3, 5, 7]


# -- the command -----------------------------------------------------------------------------


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("version", ["22.05", "24.11.5", "slurm-wlm 26.05.1"])
def test_all_of_a_recorded_machine(version: str, tmp_path: Path) -> None:
    root = TWO.write(tmp_path)
    text = run("all", "--root", str(root), "--node", "gpu[01-16]", "--slurm-version", version)
    assert "NodeName=gpu[01-16] CPUs=32 Boards=1 SocketsPerBoard=2 CoresPerSocket=8" in text
    assert "RealMemory=131072 Gres=gpu:model_1:4" in text
    for word in ("ConstrainCores=yes", "ConstrainDevices=yes", "optional /usr/lib/numa-align/numa-align.so"):
        assert f"\n{word}\n" in text
    assert ("slurm_cli_pre_submit" in text) == (version == "22.05")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gres", "--root", "/nowhere"], "/nowhere: is not a directory"),
        (["gres", "--root", "{}"], "no CPU is described"),
        (["gres", "--slurm-version", "21.08"], "'21.08' is not known; known are 22.05, 23.02"),
        (["gres", "--slurm-version", "x"], "'x' is not known"),
        (["gres", "--facts", "/nowhere"], "/nowhere: cannot be read"),
        (["plugstack", "--defaults", "on # all", "--node", "n"], "no way to write #"),
        (["gres", "--node", "bad/name"], "is not the name of a node"),
    ],
)
def test_bad_input_gets_a_message(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(NumaAlignError) as caught:
        run(*(argument.format(tmp_path) for argument in arguments))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_versions_are_releases() -> None:
    assert parse_version("slurm 24.11.5") == (24, 11)
    with pytest.raises(ConfError):
        parse_version("24.12")
