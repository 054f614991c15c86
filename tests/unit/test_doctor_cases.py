"""What doctor says of sites' files; the right answers were obtained from Slurm."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from builder import Device, Machine, on_nodes
from click.testing import CliRunner
from numa_align.cli.topo import command as topo
from numa_align.topology.read import read_at
from numa_align_conf.cli.conf import command as conf
from numa_align_conf.cli.doctor import command
from unit.site_cases import CASES, machine_of, needs_cases

HEAD = """ClusterName=x
SlurmctldHost=ctl
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
TaskPlugin=task/affinity,task/cgroup
"""
SHAPE = "Sockets=2 CoresPerSocket=48 ThreadsPerCore=2 RealMemory=100000"


def doctor(root: Path, conf: Path, node: str, version: str = "25.05") -> list[dict[str, Any]]:
    words = ["--root", str(root), "--slurm-conf", str(conf), "--node-name", node]
    result = CliRunner().invoke(command, [*words, "--slurm-version", version, "--json"])
    assert result.exit_code in (0, 1, 3), (result.output, result.exception)
    findings: list[dict[str, Any]] = json.loads(result.output)["findings"]
    return findings


def of_case(
    case: str, tmp_path: Path, node: str = "gpu01", gres: str = "gres.conf", version: str = "25.05"
) -> list[dict[str, Any]]:
    root, site = machine_of(case, tmp_path), tmp_path / "site"
    shutil.copytree(CASES / case, site)
    if gres != "gres.conf":
        shutil.copy(site / gres, site / "gres.conf")
    return doctor(root, site / "slurm.conf", node, version)


def of_files(
    tmp_path: Path, gres: str, node: str, version: str = "25.05", **settings: str
) -> list[dict[str, Any]]:
    """Two sockets of 48 cores with four GPUs each, as most of the cases have it."""
    root = tmp_path / "machine"
    gpus = on_nodes(0, 0, 0, 0, 1, 1, 1, 1, model="NVIDIA H100 80GB HBM3")
    Machine(packages=2, cores=48, smt=2, gpus=gpus).write(root)
    site = tmp_path / "site"
    site.mkdir()
    more = "".join(f"{key}={value}\n" for key, value in ({"GresTypes": "gpu"} | settings).items() if value)
    (site / "slurm.conf").write_text(f"{HEAD}{more}{node}\n")
    (site / "gres.conf").write_text(gres)
    return doctor(root, site / "slurm.conf", "gpu01", version)


def test_a_card_is_the_gpu_of_its_render_node(tmp_path: Path) -> None:
    root = tmp_path / "machine"
    amd = on_nodes(0, 1, vendor=0x1002, device=0x740C, driver="amdgpu", model=None)
    Machine(packages=2, cores=48, smt=2, gpus=amd).write(root)
    site = root / "etc/slurm"
    site.mkdir(parents=True)
    node = f"NodeName=gpu01 {SHAPE} Gres=gpu:2"
    (site / "slurm.conf").write_text(f"{HEAD}GresTypes=gpu\n{node}\n")
    lines = "Name=gpu File=/dev/dri/card2 Cores=48-95\nName=gpu File=/dev/dri/card1 Cores={}\n"
    (site / "gres.conf").write_text(lines.format("0-47"))
    assert [gpu.index for gpu in read_at(root, node_name="gpu01").gpus] == [1, 0]
    about = ("gres", "numa-sockets")
    found = doctor(root, site / "slurm.conf", "gpu01")
    assert [one for one in found if one["check"].startswith(about) and one["status"] != "ok"] == []
    words = ["gres", "--root", str(root), "--node", "gpu01", "--slurm-version", "25.05", "--diff"]
    ascending = "\n".join(reversed(lines.format("0-47").splitlines()))
    (site / "gres.conf").write_text(ascending)
    assert CliRunner().invoke(conf, [*words, str(site / "gres.conf")]).output == ""
    (site / "gres.conf").write_text(lines.format("0-95"))
    (wrong,) = (
        one for one in doctor(root, site / "slurm.conf", "gpu01") if one["check"].startswith("gres-c")
    )
    assert (wrong["check"], wrong["change"].partition(": ")[2]) == ("gres-cores-missing", "Cores=0-47")


def about_gres(findings: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        one["check"]: one for one in findings if one["check"].startswith("gres") and one["status"] != "ok"
    }


@needs_cases
@pytest.mark.parametrize(
    ("case", "check", "slurm_says"),
    [
        ("03-doctor-gres-not-compared/count-higher", "gres-count", "(8 < 16)"),
        ("03-doctor-gres-not-compared/count-lower", "gres-count", "Ignoring extra GRES"),
        ("03-doctor-gres-not-compared/count-not-files", "gres-count", "count does not match File value"),
        ("03-doctor-gres-not-compared/device-twice", "gres-file-twice", "duplicate device file name"),
        ("03-doctor-gres-not-compared/file-missing", "gres-file", "can't stat gres.conf file /dev/nvidia8"),
        ("03-doctor-gres-not-compared/file-on-some", "gres-mixed", "while others do not"),
        ("03-doctor-gres-not-compared/no-grestypes", "gres-types", "GresTypes=gpu"),
        ("03-doctor-gres-not-compared/nogres", "gres-declared", "Ignoring extra GRES"),
        ("03-doctor-gres-not-compared/other-type", "gres-type", "Ignoring extra GRES"),
        ("03-doctor-gres-not-compared/type-on-some", "gres-mixed", "while others do not"),
        ("04-doctor-autodetect-hides/cores-beside-nvml", "gres-cores-detected", "mismatching Cores"),
        ("04-doctor-autodetect-hides/inline-without-nodename", "gres-autodetect", "requires NodeName"),
        ("04-doctor-autodetect-hides/inline-without-nodename", "gres-cores-node", "node 1"),
        ("04-doctor-autodetect-hides/off-on-this-node", "gres-cores-node", "node 1"),
        ("04-doctor-autodetect-hides/two-on-one-node", "gres-autodetect", "does not match the first"),
        ("04-doctor-autodetect-hides/unknown-word", "gres-autodetect", "unknown autodetect flag"),
        ("24-cores-of-all", "gres-cores-missing", "all cores"),
    ],
)
def test_what_slurm_refuses_or_ignores_is_a_failure(
    case: str, check: str, slurm_says: str, tmp_path: Path
) -> None:
    found = about_gres(of_case(case, tmp_path))
    assert check in found, found
    finding = found[check]
    assert finding["status"] == "fail" and slurm_says in finding["what"]
    assert finding["cost"] and finding["change"]


@needs_cases
@pytest.mark.parametrize(
    ("case", "node"),
    [
        ("05-node-default", "gpu01"),
        ("07-hostlist-width", "node05"),
        ("09-cores-in-brackets", "gpu01"),
        ("13-one-node-many-sockets", "n1"),
    ],
)
def test_files_that_are_right_are_ok(case: str, node: str, tmp_path: Path) -> None:
    findings = of_case(case, tmp_path, node)
    wrong = [
        one
        for one in findings
        if one["status"] == "fail" and one["check"] not in ("plugin", "prolog", "epilog")
    ]
    assert wrong == []


@needs_cases
@pytest.mark.parametrize(
    ("name", "version", "status"),
    [
        ("gres.conf", "25.05", []),
        ("gres-link.conf", "22.05", []),
        ("gres-uuid.conf", "26.11", []),
        # Real 22.05, 24.11 and 26.05 do not start over it.
        ("gres-uuid.conf", "25.05", ["fail"]),
    ],
)
def test_keys_that_slurm_knows_do_not_end_doctor(
    name: str, version: str, status: list[str], tmp_path: Path
) -> None:
    findings = of_case("08-gres-keys", tmp_path, gres=name, version=version)
    assert [one["status"] for one in findings if one["check"] == "gres-key"] == status


@needs_cases
def test_a_driver_that_is_not_loaded_is_said_once(tmp_path: Path) -> None:
    found = [one for one in of_case("22-driver-not-loaded", tmp_path, "n1") if one["status"] != "ok"]
    about = [one for one in found if one["check"].startswith("gres")]
    (finding,) = about
    assert finding["check"] == "gres-driver" and "can't stat gres.conf file /dev/nvidia0" in finding["what"]
    assert "nvidia-modprobe" in finding["change"]


@needs_cases
def test_a_node_that_registers_itself_is_no_failure(tmp_path: Path) -> None:
    findings = of_case("14-dynamic-nodes", tmp_path, "gpu-pool-0")
    assert [one["status"] for one in findings if one["check"] == "slurm-conf"] == ["ok"]


@needs_cases
@pytest.mark.parametrize("name", ["slurm.conf", "slurm-tab.conf"])
def test_text_is_read_as_slurm_reads_it(name: str, tmp_path: Path) -> None:
    case = "16-text-that-slurm-reads"
    site = tmp_path / "site"
    shutil.copytree(CASES / case, site)
    assert doctor(machine_of(case, tmp_path), site / name, "gpu01")


# -- The same kinds, without the cases' files --------------------------------------------------

RIGHT = """\
Name=gpu Type=h100 File=/dev/nvidia[0-3] Cores=0-47
Name=gpu Type=h100 File=/dev/nvidia[4-7] Cores=48-95
"""
NODE = f"NodeName=gpu[01-04] {SHAPE} Gres=gpu:h100:8"


def test_files_that_agree_have_no_finding(tmp_path: Path) -> None:
    assert about_gres(of_files(tmp_path, RIGHT, NODE)) == {}


@pytest.mark.parametrize(
    ("gres", "node", "check"),
    [
        (RIGHT.replace("Name=gpu", "Name=GPU"), NODE, None),
        (RIGHT, NODE.replace("gpu:h100:8", "gpu:8"), None),
        (RIGHT, NODE.replace("gpu:h100:8", "gpu:h100:8(S:0-1),shard:64"), None),
        (RIGHT, NODE.replace("gpu:h100:8", "gpu:H100:8"), None),
        (RIGHT, NODE.replace("gpu:h100:8", "shard:8"), "gres-declared"),
        (RIGHT, NODE.replace("gpu:h100:8", "gpu:h100"), "gres-count"),
        (RIGHT.replace("[4-7]", "[4-6]"), NODE, "gres-count"),
        (RIGHT.replace("[4-7]", "[3-7]"), NODE, "gres-file-twice"),
        (RIGHT + "AutoDetect=nvlm\n", NODE, "gres-autodetect"),
        (RIGHT.replace("Cores=0-47", "Cores=0-95"), NODE, "gres-cores-missing"),
        (RIGHT.replace("Cores=0-47", "Cores=[0-47]"), NODE, None),
        (RIGHT.replace("Cores=0-47", "Cores=0-47 Colour=red"), NODE, "gres-key"),
        ("NodeName=gpu[01-04] AutoDetect=off\nAutoDetect=nvml\n" + RIGHT, NODE, None),
        (RIGHT, f"NodeName=DEFAULT {SHAPE}\nNodeName=DEFAULT Gres=gpu:h100:8\nNodeName=gpu01", None),
        (RIGHT, f"NodeName=DEFAULT {SHAPE} Gres=gpu:h100:4\nNodeName=gpu01 Gres=gpu:h100:8", None),
        (RIGHT, f"NodeName=n[1-4] NodeHostname=gpu[01-04] {SHAPE} Gres=gpu:h100:8", None),
    ],
)
def test_each_kind_is_told(gres: str, node: str, check: str | None, tmp_path: Path) -> None:
    found = about_gres(of_files(tmp_path, gres, node))
    assert check in found if check else found == {}, found


def test_a_prolog_is_advised_where_the_program_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("numa_align_conf.doctor.read.installed_prefix", lambda: "/usr/local")
    (finding,) = (one for one in of_files(tmp_path, RIGHT, NODE) if one["check"] == "prolog")
    assert finding["change"].endswith("Prolog=/usr/local/sbin/numa-align-prolog")
    assert finding["cost"] == "no task of this node is aligned"


@pytest.mark.parametrize(
    "gres",
    [
        RIGHT.replace("[4-7]", "[3-7]"),
        RIGHT.replace("[4-7]", "[4-15]"),
        RIGHT.replace("Name=gpu Type=h100 File=/dev/nvidia[4-7]", "Name=gpu File=/dev/nvidia[4-7]"),
        RIGHT.replace("File=/dev/nvidia[4-7]", "File=/dev/nvidia[4-7] Count=3"),
    ],
    ids=["a file twice", "files that are not there", "Type= on some", "Count= unlike files"],
)
def test_no_count_is_proposed_for_lines_that_are_themselves_wrong(gres: str, tmp_path: Path) -> None:
    found = about_gres(of_files(tmp_path, gres, NODE))
    assert found
    assert not any("Gres=gpu" in finding["change"] for finding in found.values()), found


# -- Slurm's other words: kept cores, a selector that is gone, files that slurmctld sends ------------

NEAR = "Name=gpu File=/dev/nvidia[0-3] Cores=0-47\nName=gpu File=/dev/nvidia[4-7] Cores=48-95\n"


@pytest.mark.parametrize(
    ("number", "gres", "version", "right"),
    [
        (12, NEAR, "25.05", ("ok", "12 cores near each GPU")),
        (13, NEAR, "25.05", ("fail", "that many unique cores")),
        (1, "Name=gpu File=/dev/nvidia[0-7]\n", "25.05", ("fail", "don't have any topology")),
        (1, NEAR, "23.11", ("fail", "has no such key")),
    ],
)
def test_kept_cores_are_judged_as_slurmctld_does(
    number: int, gres: str, version: str, right: tuple[str, str], tmp_path: Path
) -> None:
    node = f"NodeName=gpu01 {SHAPE} Gres=gpu:8 RestrictedCoresPerGPU={number}"
    findings = of_files(tmp_path, gres, node, version=version)
    (finding,) = (one for one in findings if one["check"] == "restricted-cores")
    assert (finding["status"], right[1] in finding["what"]) == (right[0], True)


def test_without_kept_cores_nothing_is_said_of_them(tmp_path: Path) -> None:
    findings = of_files(tmp_path, NEAR, f"NodeName=gpu01 {SHAPE} Gres=gpu:8")
    assert not any(one["check"] == "restricted-cores" for one in findings)


@pytest.mark.parametrize(("version", "gone"), [("23.02", False), ("23.11", True), ("26.05", True)])
def test_a_selector_that_is_gone_keeps_daemons_from_starting(
    version: str, gone: bool, tmp_path: Path
) -> None:
    node = f"NodeName=gpu01 {SHAPE} Gres=gpu:8"
    findings = of_files(tmp_path, NEAR, node, SelectType="select/cons_res", version=version)
    (finding,) = (one for one in findings if one["check"] == "select-type")
    assert ("no daemon starts" in finding["cost"]) == gone


def site_below(root: Path, folder: str, gres: str = NEAR, more: str = "", stack: str = "") -> None:
    gpus = on_nodes(0, 0, 0, 0, 1, 1, 1, 1, model="NVIDIA H100 80GB HBM3")
    Machine(packages=2, cores=48, smt=2, gpus=gpus).write(root)
    place = root / folder
    place.mkdir(parents=True)
    (place / "slurm.conf").write_text(f"{HEAD}GresTypes=gpu\n{more}NodeName=gpu01 {SHAPE} Gres=gpu:8\n")
    (place / "gres.conf").write_text(gres)
    (place / "plugstack.conf").write_text(stack)


def below(root: Path) -> list[dict[str, Any]]:
    words = ["--root", str(root), "--node-name", "gpu01", "--slurm-version", "25.05", "--json"]
    result = CliRunner().invoke(command, words)
    assert result.exit_code in (0, 1, 3), (result.output, result.exception)
    findings: list[dict[str, Any]] = json.loads(result.output)["findings"]
    return findings


BACKWARDS = NEAR.replace("0-47", "x").replace("48-95", "0-47").replace("x", "48-95")


def test_a_change_of_slurmds_copy_names_the_originals_host(tmp_path: Path) -> None:
    site_below(tmp_path / "m", "run/slurm/conf", BACKWARDS)
    findings = below(tmp_path / "m")
    (copy,) = (one for one in findings if one["check"] == "configless")
    assert copy["status"] == "ok" and "the originals are on ctl" in copy["what"]
    wrong = [one for one in findings if one["check"] == "gres-cores-node"]
    assert wrong and all("change the original on ctl" in one["change"] for one in wrong)


def test_of_files_that_are_no_copy_nothing_is_said(tmp_path: Path) -> None:
    site_below(tmp_path / "m", "etc/slurm", BACKWARDS)
    findings = below(tmp_path / "m")
    assert not any(one["check"] == "configless" or "original" in one["change"] for one in findings)


@pytest.mark.parametrize(("configless", "status"), [(True, "warn"), (False, None)])
def test_slurmctld_does_not_send_what_a_pattern_stands_for(
    configless: bool, status: str | None, tmp_path: Path
) -> None:
    more = "SlurmctldParameters=enable_configless\n" if configless else ""
    site_below(tmp_path / "m", "etc/slurm", more=more, stack="\ninclude plugstack.conf.d/*.conf\n")
    findings = below(tmp_path / "m")
    found = [one for one in findings if one["check"] == "configless"]
    assert [one["status"] for one in found] == ([status] if status else [])
    assert all(one["what"].startswith("/etc/slurm/plugstack.conf:2: includes") for one in found)
    (plugin,) = (one for one in findings if one["check"] == "plugin")
    assert ("include /etc" in plugin["change"]) != configless


@pytest.mark.parametrize(
    "gres",
    [
        BACKWARDS,
        NEAR.replace("48-95", "x"),
        "Name=gpu File=/dev/nvidia[0-8]\n",
        "Name=gpu Colour=red File=/dev/nvidia0\n",
        "AutoDetect=nvml\nName=gpu AutoDetect=nvml File=/dev/nvidia0\n",
        NEAR + NEAR,
        "include one.conf\n",
        "",
    ],
)
def test_no_path_shows_the_root(gres: str, tmp_path: Path) -> None:
    root = tmp_path / "m"
    stack = "required /opt/numa-align.so\noptional /opt/x/numa-align.so\ninclude plugstack.conf.d/*.conf\n"
    more = "Prolog=/etc/slurm/prolog.d/*\nEpilog=/nothing\nSlurmctldParameters=enable_configless\n"
    site_below(root, "etc/slurm", gres, more, stack)
    for path in ("opt/numa-align.so", "etc/slurm/prolog.d/a"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text("")
    (root / "etc/slurm/one.conf").write_text("Name=gpu File=/dev/nvidia[0-9]\n")
    found = [one["what"] + one["cost"] + one["change"] for one in below(root)]
    assert found and not [text for text in found if str(tmp_path) in text]


# -- Findings that name every place, and changes that hold together -----------------------------------

ALL_IN_ONE = "Name=gpu File=/dev/nvidia[0-7]"
EIGHT = f"NodeName=gpu01 {SHAPE} Gres=gpu:8"
TYPED = NEAR.replace("Name=gpu", "Name=gpu Type=h100")


@pytest.mark.parametrize("cores", ["", " Cores=0-95", " Cores=0-47", " Cores=x", " Cores=0-23"])
def test_a_line_for_gpus_of_two_nodes_gets_one_change(cores: str, tmp_path: Path) -> None:
    findings = [one for one in of_files(tmp_path, ALL_IN_ONE + cores, EIGHT) if "gres-cores" in one["check"]]
    changes = {one["change"].partition(": ")[2] for one in findings}
    assert changes == {
        "one line for each: File=/dev/nvidia[0-3] Cores=0-47, and File=/dev/nvidia[4-7] Cores=48-95"
    }


def test_every_device_and_place_of_a_fault_is_named(tmp_path: Path) -> None:
    twice = [
        one["what"] for one in of_files(tmp_path, NEAR + NEAR, EIGHT) if one["check"] == "gres-file-twice"
    ]
    assert [what.partition("already")[0].split(": ")[1] for what in twice] == [
        f"/dev/nvidia[0-3] are in {tmp_path}/site/gres.conf:1 ",
        f"/dev/nvidia[4-7] are in {tmp_path}/site/gres.conf:2 ",
    ]


@pytest.mark.parametrize(
    ("gres", "check", "places"),
    [
        (f"AutoDetect=nvml\n{BACKWARDS}", "gres-cores-detected", (2, 3)),
        (f"{TYPED}Name=gpu Count=1\nName=gpu Count=2\n", "gres-mixed", (3, 4)),
        (NEAR.replace("[0-3]", "[8-9]").replace("[4-7]", "[10-11]"), "gres-file", (1, 2)),
        (NEAR.replace("[4-7]", "[4-5]"), "gres-count", (1, 2)),
    ],
)  # fmt: skip
def test_all_lines_with_the_fault_are_named(
    gres: str, check: str, places: tuple[int, ...], tmp_path: Path
) -> None:
    said = " ".join(one["what"] for one in of_files(tmp_path, gres, EIGHT) if one["check"] == check)
    assert [place for place in range(1, 6) if f"gres.conf:{place}" in said] == list(places), said


def test_gpus_that_gres_conf_lacks_are_one_finding_and_gres_stays(tmp_path: Path) -> None:
    found = about_gres(of_files(tmp_path, NEAR.replace("[4-7]", "4"), EIGHT))
    assert found["gres-gpu"]["what"].count("/dev/nvidia") == 3
    assert "Gres=" not in found["gres-count"]["change"]


@pytest.mark.parametrize(
    ("number", "says"), [(8, None), (9, "(8 < 9)"), (4, "4 more configured than expected")]
)
@pytest.mark.parametrize("more", ["", "Name=gpu File=/dev/nvidia[0-7]\n"])
def test_what_nvml_finds_is_counted(number: int, says: str | None, more: str, tmp_path: Path) -> None:
    found = about_gres(
        of_files(tmp_path, f"AutoDetect=nvml\n{more}", EIGHT.replace("gpu:8", f"gpu:{number}"))
    )
    assert (says in found["gres-count"]["what"]) if says else found == {}


def test_instances_of_a_divided_gpu_are_not_counted(tmp_path: Path) -> None:
    gpus = (Device(0, mig_instances=(1, 2)), Device(1))
    Machine(packages=2, cores=48, smt=2, gpus=gpus).write(tmp_path / "m")
    site = tmp_path / "site"
    site.mkdir()
    gres = "Gres=gpu:a100:1,gpu:a100_3g.40gb:2"
    (site / "slurm.conf").write_text(f"{HEAD}GresTypes=gpu\nNodeName=gpu01 {SHAPE} {gres}\n")
    (site / "gres.conf").write_text("AutoDetect=nvml\n")
    assert about_gres(doctor(tmp_path / "m", site / "slurm.conf", "gpu01")) == {}


SMALL_NODES = Machine(packages=2, nodes=4, cores=16, smt=2, gpus=on_nodes(3, 3, 1, 1, 7, 7, 5, 5))


def on_small_nodes(tmp_path: Path, node: str, gres: str, version: str) -> list[dict[str, Any]]:
    if not (tmp_path / "m").exists():
        SMALL_NODES.write(tmp_path / "m")
    (tmp_path / "slurm.conf").write_text(f"{HEAD}GresTypes=gpu\nNodeName=gpu01 Gres=gpu:8 {node}\n")
    (tmp_path / "gres.conf").write_text(gres)
    found = doctor(tmp_path / "m", tmp_path / "slurm.conf", "gpu01", version)
    about = ("gres", "node-shape", "numa-sockets")
    return [one for one in found if one["status"] != "ok" and one["check"].startswith(about)]


BY_PACKAGE = "Sockets=2 CoresPerSocket=64 ThreadsPerCore=2 RealMemory=1000"
BY_NODE = "Sockets=8 CoresPerSocket=16 ThreadsPerCore=2 RealMemory=1000"
OF_PACKAGES = NEAR.replace("48-95", "64-127").replace("0-47", "0-63")
OF_NODES = "".join(
    f"Name=gpu File=/dev/nvidia[{2 * i}-{2 * i + 1}] Cores={cores}\n"
    for i, cores in enumerate(("48-63", "16-31", "112-127", "80-95"))
)


@pytest.mark.parametrize("version", ["24.11", "25.11", "26.05"])
def test_cores_by_package_and_numa_node_as_socket_exclude_each_other(version: str, tmp_path: Path) -> None:
    first = on_small_nodes(tmp_path, BY_PACKAGE, ALL_IN_ONE, version)
    assert [one["check"] for one in first] == ["gres-cores-missing"]
    (then,) = on_small_nodes(tmp_path, BY_PACKAGE, OF_PACKAGES, version)
    assert then["check"] == "numa-sockets"
    for word in ("numa_node_as_socket", "Sockets=8 CoresPerSocket=16", *OF_NODES.split()[1::1]):
        assert word in then["change"] or word == "Name=gpu"
    own = version != "24.11"
    done = (
        f"{BY_NODE} Parameters=numa_node_as_socket"
        if own
        else f"{BY_NODE}\nSlurmdParameters=numa_node_as_socket"
    )
    assert on_small_nodes(tmp_path, done, OF_NODES, version) == []


@pytest.mark.parametrize("version", ["24.11", "25.11"])
def test_the_missing_parameter_is_proposed_if_all_else_fits_nodes(version: str, tmp_path: Path) -> None:
    (finding,) = on_small_nodes(tmp_path, BY_NODE, OF_NODES, version)
    assert finding["check"] == "node-shape" and finding["change"].endswith("Parameters=numa_node_as_socket")


@pytest.mark.parametrize(
    ("cells", "packages", "cores", "says"),
    [
        ({0: "0-3,8-11", 1: "4-7,12-15"}, 2, 4, "contradict"),
        ({0: "0-7", 1: "8-15"}, 2, 4, None),
        (None, 2, 4, "share one NUMA node"),
        (None, 8, 1, None),
        (None, 1, 8, None),
    ],
)
def test_a_machine_that_contradicts_itself_is_a_warning(
    cells: dict[int, str] | None, packages: int, cores: int, says: str | None, tmp_path: Path
) -> None:
    everything = {0: f"0-{2 * packages * cores - 1}"}
    nodes = sorted(cells or everything)
    root = tmp_path / "m"
    Machine(packages=packages, cores=cores, smt=2, siblings_apart=False, gpus=on_nodes(0)).write(root)
    for own in root.glob("sys/devices/system/node/node*"):
        if int(own.name[4:]) not in nodes:
            shutil.rmtree(own)
        else:
            (own / "cpulist").write_text(
                (cells or {0: f"0-{2 * packages * cores - 1}"})[int(own.name[4:])] + "\n"
            )
    for name in ("online", "possible"):
        path = root / "sys/devices/system/node" / name
        if path.exists():
            path.write_text(f"0-{max(nodes)}\n")
    words = ["--root", str(root), "--node-name", "gpu01", "--slurm-version", "25.05", "--json"]
    findings = json.loads(CliRunner().invoke(command, words).output)["findings"]
    said = [one["what"] + one["cost"] for one in findings if one["check"] == "machine"]
    assert len(said) == bool(says) and all(str(says) in text for text in said)
    shown = CliRunner().invoke(topo, ["--root", str(root)]).output
    assert ("Warning: " in shown) == bool(says), shown
