"""``numa-align doctor`` accepts what the generators wrote, and is right about every fault."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from builder import Card, Device, Machine, NvmeDisk, on_nodes
from click.testing import CliRunner
from numa_align.errors import ConfError
from numa_align.names import SITE_WORDS
from numa_align_conf.cli.doctor import command
from numa_align_conf.doctor.checks import CHECKS, examine
from numa_align_conf.doctor.model import Facts, Finding, Script
from numa_align_conf.doctor.read import prolog_seconds, read_facts
from numa_align_conf.elf import built_for
from numa_align_conf.facts import NodeFacts as Hardware
from numa_align_conf.facts import kind_of_one
from numa_align_conf.generate import ConfRequest, generate
from numa_align_conf.live import parse_json, parse_text
from numa_align_conf.model import Declared
from numa_align_conf.version import Version

ROOT = Path(__file__).resolve().parents[2]

V24 = Version(24, 11)
HUGE = "sys/kernel/mm/transparent_hugepage"
TWO = Machine(packages=2, cores=8, smt=2, gpus=on_nodes(0, 0, 1, 1))
NPS4 = Machine(packages=2, nodes=4, cores=4, gpus=on_nodes(3, 1, 7, 5))


def plugin_file(year: int, month: int) -> bytes:
    """A fake of a plugin: an ELF file with one dynamic symbol, plugin_version, and nothing else."""
    strings = b"\0plugin_version\0"
    symbols = bytes(24) + struct.pack("<IBBHQQ", 1, 0x11, 0, 3, 0x1000, 4)
    number = struct.pack("<I", year << 16 | month << 8 | 5)
    header, body = 64, strings + symbols + number
    places = (header, header + len(strings), header + len(strings) + len(symbols))
    rows = (
        (0, 0, 0, 0, 0),
        (11, 0, places[1], len(symbols), 2),
        (3, 0, places[0], len(strings), 0),
        (1, 0x1000, places[2], 4, 0),
    )
    sections = b"".join(
        struct.pack("<IIQQQQIIQQ", 0, kind, 0, address, offset, size, link, 0, 1, 0)
        for kind, address, offset, size, link in rows
    )
    start = header + len(body)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, start, 0, 64, 0, 0, 64, len(rows), 0)
    return head + body + sections


def node(tmp_path: Path, machine: Machine = TWO, version: Version = V24) -> Path:
    """A node that is as it should be: what `make install` and the generators put there."""
    root = machine.write(tmp_path / "root")
    request = ConfRequest((kind_of_one("n1", Hardware(machine.topology())),), version)
    etc = root / "etc/slurm"
    etc.mkdir(parents=True)
    for part in ("slurm", "gres", "cgroup", "plugstack"):
        (etc / f"{part}.conf").write_text(generate(part, request))
    for script in ("usr/sbin/numa-align-prolog", "usr/sbin/numa-align-epilog"):
        (root / script).parent.mkdir(parents=True, exist_ok=True)
        (root / script).write_text("#!/bin/sh\n")
        (root / script).chmod(0o755)
    library = root / "usr/lib/numa-align/numa-align.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(plugin_file(version.year, version.month))
    return root


def facts(root: Path, version: Version = V24) -> Facts:
    return read_facts(str(root), name="n1", version=version)


def wrong(found: Facts) -> list[Finding]:
    return [finding for finding in examine(found) if finding.status != "ok"]


@pytest.mark.parametrize("version", [Version(22, 5), V24, Version(26, 5)])
@pytest.mark.parametrize("machine", [TWO, NPS4, Machine(packages=1, gpus=on_nodes(0, 0))])
def test_nothing_is_wrong_with_what_was_generated(machine: Machine, version: Version, tmp_path: Path) -> None:
    found = wrong(facts(node(tmp_path, machine, version), version))
    assert [finding.check for finding in found] == (["weight-copies"] if machine is NPS4 else [])


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / "etc/slurm" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def mode(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).chmod(0o644)


def write(path: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)

    return change


BROKEN = [
    (edit("gres.conf", " Cores=0-7", ""), "gres-cores-missing", "fail", "Cores=0-7"),
    (edit("gres.conf", "Cores=0-7", "Cores=0-7,16-23"), "gres-cores-cpus", "fail", "Cores=0-7"),
    (edit("gres.conf", "Cores=0-7", "Cores=16-23"), "gres-cores-socket", "fail", "Cores=0-7"),
    (edit("gres.conf", "Cores=0-7", "Cores=0-3"), "gres-cores-socket", "fail", "Cores=0-7"),
    (edit("gres.conf", "Cores=0-7", "Cores=8-15"), "gres-cores-node", "fail", "Cores=0-7"),
    (edit("gres.conf", "Cores=0-7", "Cores=x"), "gres-cores-list", "fail", "Cores=0-7"),
    (edit("gres.conf", "nvidia[0-1]", "nvidia1"), "gres-gpu", "fail", "gres.conf"),
    (edit("slurm.conf", "CoresPerSocket=8", "CoresPerSocket=4"), "node-shape", "fail", "CoresPerSocket=8"),
    (edit("slurm.conf", "task/affinity,", ""), "task-plugin", "fail", "TaskPlugin=task/affinity,task/cgroup"),
    (edit("slurm.conf", ",task/cgroup", ""), "task-plugin", "fail", "TaskPlugin=task/affinity,task/cgroup"),
    (edit("slurm.conf", "select/cons_tres", "select/linear"), "select-type", "fail", "select/cons_tres"),
    (edit("slurm.conf", "NodeName=n1", "NodeName=n2"), "slurm-conf", "fail", "conf slurm"),
    (edit("cgroup.conf", "ConstrainCores=yes", ""), "constrain", "fail", "ConstrainCores=yes"),
    (edit("cgroup.conf", "Devices=yes", "Devices=no"), "constrain", "fail", "ConstrainDevices=yes"),
    (
        edit("slurm.conf", "PrologFlags=Alloc,Contain", "PrologFlags=Alloc"),
        "prolog-contain",
        "warn",
        "PrologFlags=Alloc,Contain",
    ),
    (edit("slurm.conf", "PrologFlags=Alloc,Contain", ""), "prolog-flags", "warn", "PrologFlags=Alloc"),
    (
        edit("slurm.conf", "Prolog=/usr", "#Prolog=/usr"),
        "prolog",
        "fail",
        ("Prolog=/usr/sbin/numa-align-prolog"),
    ),
    (mode("usr/sbin/numa-align-prolog"), "prolog", "fail", "chmod 755 /usr/sbin/numa-align-prolog"),
    (lambda root: (root / "usr/sbin/numa-align-epilog").unlink(), "epilog", "fail", "numa-align-epilog"),
    (
        lambda root: (root / "usr/lib/numa-align/numa-align.so").unlink(),
        "plugin",
        "fail",
        ("install numa-align"),
    ),
    (write("usr/lib/numa-align/numa-align.so", "not a library"), "plugin", "fail", "make install"),
    (edit("plugstack.conf", "optional /", "# /"), "plugin", "fail", "plugstack.conf.d"),
    (edit("plugstack.conf", "optional /", "required /"), "plugin-required", "warn", "optional /usr/lib"),
    *(
        (
            edit("plugstack.conf", "numa-align.so\n", f"numa-align.so {words}\n"),
            "plugin-words",
            "fail",
            change,
        )
        for words, change in (
            ("on dyr", "numa-align.so on dry"),
            ("on,mem=bnid", "numa-align.so on,mem=bind"),
            ("on exept-users=a:b", "numa-align.so on except-users=a:b"),
            ("on strickt", "numa-align.so on strict"),
            ("on hurry", "one of on, off,"),
        )
    ),
    (
        write("run/numa-align/77", "numa-align-table 1\nboot 00000000-1111\njob 77\nend 3\n"),
        "tables",
        "warn",
        "Epilog=",
    ),
    (
        write("run/numa-align/77", "numa-align-table 2\nboot -\njob 77\nend 3\n"),
        "tables",
        "warn",
        "SLURM_JOB_ID=77 SLURM_JOB_GPUS=IDX numa-align-prolog",
    ),
    (
        edit("slurm.conf", "Epilog=/usr", "#Epilog=/usr"),
        "epilog",
        "fail",
        "Epilog=/usr/sbin/numa-align-epilog",
    ),
    (mode("usr/sbin/numa-align-epilog"), "epilog", "fail", "chmod 755 /usr/sbin/numa-align-epilog"),
    (lambda root: (root / "etc/slurm/cgroup.conf").unlink(), "constrain", "fail", "ConstrainCores=yes"),
    (lambda root: (root / "etc/slurm/plugstack.conf").unlink(), "plugin", "fail", "plugstack.conf.d"),
    (
        edit("slurm.conf", "RealMemory=", "CpuSpecList=0,2-3 RealMemory="),
        "spec-cpus",
        "warn",
        "CpuSpecList=0-3",
    ),
]


@pytest.mark.parametrize(("breaking", "check", "status", "change"), BROKEN)
def test_each_fault_is_found_alone(
    breaking: Callable[[Path], None], check: str, status: str, change: str, tmp_path: Path
) -> None:
    root = node(tmp_path)
    breaking(root)
    found = [finding for finding in wrong(facts(root)) if finding.check == check]
    assert {finding.status for finding in found} == {status}
    assert change in found[0].change.replace(str(root), "")
    assert found[0].what
    assert found[0].cost
    # A node that is not declared is no longer checked against its declaration, all else has one fault.
    # A GPU that gres.conf does not have is missing from slurm.conf's count as well.
    assert {finding.check for finding in wrong(facts(root))} <= {check, "gres-gpu", "gres-count"}


@pytest.mark.parametrize(
    "words", ["on", "on,dry", "on except-users=a:b mem=bind,smt=off", "except-partitions=x"]
)
def test_words_that_the_plugin_knows_are_no_fault(words: str, tmp_path: Path) -> None:
    root = node(tmp_path)
    edit("plugstack.conf", "numa-align.so\n", f"numa-align.so {words}\n")(root)
    assert wrong(facts(root)) == []


def test_the_sites_own_words_are_those_of_the_plugin() -> None:
    source = (ROOT / "spank/site.c").read_text()
    defined = dict(re.findall(r'#define (\w+) "([^"]+)"', source))
    own = re.search(r"own\[\] = \{ (.*) \}", source)
    assert own is not None
    said = (word.strip('"') for word in own[1].split(", "))
    assert tuple(defined.get(word, word) for word in said) == SITE_WORDS


def test_each_check_says_when_all_is_well(tmp_path: Path) -> None:
    root = node(tmp_path)
    edit("slurm.conf", "RealMemory=", "CpuSpecList=0-1 RealMemory=")(root)
    write("proc/sys/kernel/numa_balancing", "0\n")(root)
    write("proc/sys/vm/zone_reclaim_mode", "0\n")(root)
    write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")(root)
    write("proc/sys/kernel/random/boot_id", "00000000-2222\n")(root)
    write("run/numa-align/77", "numa-align-table 1\nboot 00000000-2222\njob 77\nend 3\n")(root)
    found = examine(replace(facts(root), persistence=True, prolog_seconds=0.1))
    assert {finding.status for finding in found} == {"ok"}
    assert sorted(finding.check for finding in found) == sorted(SAID_WHEN_WELL)


#: Checks that have a word for a node that is as it should be; the others are silent.
SAID_WHEN_WELL = (
    *("gpu-node", "gres-cores", "node-shape", "task-plugin", "constrain", "constrain", "spec-cpus", "plugin"),
    *("prolog", "epilog", "prolog-slow", "kernel", "kernel", "huge-pages", "persistence"),
)


@pytest.mark.parametrize(
    ("file", "text", "what", "price"),
    [
        ("proc/sys/kernel/numa_balancing", "1\n", "kernel.numa_balancing is 1", "a memory policy"),
        ("proc/sys/vm/zone_reclaim_mode", "0\n", "vm.zone_reclaim_mode is 0", "preferred-many"),
        ("proc/sys/vm/zone_reclaim_mode", "1\n", "vm.zone_reclaim_mode is 1", "preferred-many"),
        (f"{HUGE}/enabled", "always madvise [never]\n", "transparent huge pages: never", "three times"),
        (f"{HUGE}/enabled", "[always] madvise never\n", "transparent huge pages: always", "room=auto"),
    ],
)
def test_a_kernel_setting_is_reported_with_its_price_not_as_a_fault(
    file: str, text: str, what: str, price: str, tmp_path: Path
) -> None:
    root = node(tmp_path)
    write(file, text)(root)
    assert wrong(facts(root)) == []
    (found,) = (finding for finding in examine(facts(root)) if finding.what.startswith(what))
    assert (found.status, found.change) == ("ok", "")
    assert price in found.cost


def test_settings_about_several_nodes_are_not_reported_for_one(tmp_path: Path) -> None:
    root = node(tmp_path, Machine(packages=1, gpus=on_nodes(0, 0)))
    write("proc/sys/kernel/numa_balancing", "1\n")(root)
    write("proc/sys/vm/zone_reclaim_mode", "1\n")(root)
    assert [finding for finding in examine(facts(root)) if finding.check == "kernel"] == []


def test_without_gres_conf_no_gpu_can_be_had(tmp_path: Path) -> None:
    root = node(tmp_path)
    (root / "etc/slurm/gres.conf").unlink()
    found = wrong(facts(root))
    assert {(finding.check, finding.status) for finding in found} == {("gres-gpu", "fail")}


def test_detected_cores_are_left_to_slurm(tmp_path: Path) -> None:
    root = node(tmp_path)
    (root / "etc/slurm/gres.conf").write_text("AutoDetect=nvml\n")
    (finding,) = (finding for finding in examine(facts(root)) if finding.check == "gres-cores")
    assert (finding.status, "AutoDetect" in finding.what) == ("ok", True)


def test_cores_of_another_node_as_azure_shipped_them(tmp_path: Path) -> None:
    """Eight GPUs on four nodes of a machine, and gres.conf with the nodes in the order of their numbers."""
    machine = Machine(packages=2, nodes=2, cores=4, gpus=on_nodes(1, 1, 0, 0, 3, 3, 2, 2))
    root = node(tmp_path, machine)
    lines = [
        f"NodeName=n1 Name=gpu File=/dev/nvidia[{2 * n}-{2 * n + 1}] Cores={4 * n}-{4 * n + 3}\n"
        for n in range(4)
    ]
    (root / "etc/slurm/gres.conf").write_text("".join(lines))
    found = [finding for finding in wrong(facts(root)) if finding.check == "gres-cores-node"]
    assert [finding.change.partition("Cores=")[2] for finding in found] == ["4-7", "0-3", "12-15", "8-11"]


def test_the_prologs_work_is_timed_here() -> None:
    seconds = prolog_seconds()
    assert seconds is not None
    assert 0 < seconds < 30


def test_a_plugin_for_another_slurm_is_told_by_its_own_number(tmp_path: Path) -> None:
    root = node(tmp_path)
    (finding,) = wrong(facts(root, Version(24, 5)))
    assert (finding.check, "built for Slurm 24.11, this is 24.05" in finding.what) == ("plugin-version", True)


@pytest.mark.parametrize("data", [b"", b"\x7fELF\x02\x01", plugin_file(24, 11)[:90], b"\x7fELF\x01" * 40])
def test_what_is_no_plugin_has_no_version(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(data)
    assert built_for(path) is None
    assert built_for(tmp_path / "missing") is None


def test_a_real_plugin_has_its_version() -> None:
    path = Path(__file__).resolve().parents[2] / "spank/build/numa-align.so"
    if not path.exists():
        pytest.skip("the plugin is not built here")
    number = built_for(path)
    assert number is not None and number >= (22, 5)


def test_gpus_without_a_node_fail(tmp_path: Path) -> None:
    gpus = (Device(0), Device(None, source="none"))
    found = wrong(facts(node(tmp_path, Machine(packages=2, gpus=gpus))))
    assert [finding.check for finding in found] == ["gpu-node"]


def test_copies_of_weights_are_counted(tmp_path: Path) -> None:
    (finding,) = wrong(facts(node(tmp_path, NPS4)))
    assert "holds 8 copies: 4 times the memory" in finding.cost


def test_small_nodes_that_slurm_cannot_tell_apart(tmp_path: Path) -> None:
    root = node(tmp_path, NPS4)
    edit("slurm.conf", "SlurmdParameters=numa_node_as_socket", "")(root)
    (finding,) = (one for one in wrong(facts(root)) if one.check != "weight-copies")
    assert finding.check == "node-shape"
    assert finding.change.endswith("SlurmdParameters=numa_node_as_socket")


def test_persistence_and_a_slow_prolog(tmp_path: Path) -> None:
    found = replace(facts(node(tmp_path)), persistence=False, prolog_seconds=2.5)
    assert [(finding.check, finding.status) for finding in wrong(found)] == [
        ("prolog-slow", "warn"),
        ("persistence", "warn"),
    ]


def test_a_site_prolog_beside_ours_is_checked_too(tmp_path: Path) -> None:
    found = facts(node(tmp_path))
    scripts = {**found.scripts, "prolog": (*found.scripts["prolog"], Script("/opt/site", False, False))}
    (finding,) = wrong(replace(found, scripts=scripts))
    assert finding.what.endswith("/opt/site does not exist")


@pytest.mark.parametrize("version", [Version(22, 5), V24])
def test_several_prologs_run_only_where_slurm_runs_them(version: Version, tmp_path: Path) -> None:
    root = node(tmp_path, TWO, version)
    write("site/prolog", "#!/bin/sh\n")(root)
    (root / "site/prolog").chmod(0o755)
    edit(
        "slurm.conf",
        "Prolog=/usr/sbin/numa-align-prolog",
        "Prolog=/usr/sbin/numa-align-prolog\nProlog=/site/prolog",
    )(root)
    found = [finding for finding in wrong(facts(root, version)) if finding.check == "prolog"]
    if version == V24:
        assert found == []
        return
    (finding,) = found
    assert finding.change == "/site/prolog: have it call /usr/sbin/numa-align-prolog"
    write("site/prolog", "#!/bin/sh\n/usr/sbin/numa-align-prolog\n")(root)
    assert wrong(facts(root, version)) == []


def test_a_comma_is_part_of_a_prologs_path(tmp_path: Path) -> None:
    root = node(tmp_path)
    edit("slurm.conf", "Prolog=/usr/sbin/numa-align-prolog", "Prolog=/usr/sbin/numa-align-prolog,/bin/true")(
        root
    )
    assert any("numa-align-prolog,/bin/true does not exist" in finding.what for finding in wrong(facts(root)))


def test_a_login_node_has_little_to_be_wrong(tmp_path: Path) -> None:
    root = node(tmp_path, Machine(packages=1))
    edit("slurm.conf", "NodeName=n1", "NodeName=n[2-9]")(root)
    assert wrong(facts(root)) == []


def test_included_files_are_followed(tmp_path: Path) -> None:
    root = node(tmp_path)
    etc = root / "etc/slurm"
    (etc / "real.conf").write_text((etc / "slurm.conf").read_text())
    (etc / "slurm.conf").write_text("include real.conf\n")
    (etc / "plugstack.conf").rename(etc / "other.conf")
    (etc / "plugstack.conf").write_text("include /etc/slurm/oth*.conf\n")
    assert wrong(facts(root)) == []


def test_every_check_survives_a_node_of_which_nothing_is_known(tmp_path: Path) -> None:
    found = facts(Machine(packages=1, has_node_directory=False).write(tmp_path))
    for check in CHECKS:
        list(check(found))
    assert [finding.check for finding in wrong(found)] == ["slurm-conf"]


def test_scontrol_is_understood_in_all_its_forms() -> None:
    text = (
        "NodeName=n1 Arch=x86_64 CoresPerSocket=8 CPUAlloc=0 CPUTot=32 CPULoad=0.1 Boards=1 Gres=gpu:4 "
        "RealMemory=128000 Sockets=2 ThreadsPerCore=2 CpuSpecList=0-1\n"
    )
    expected = Declared(2, 8, 2, 128000, (0, 1), "scontrol")
    assert parse_text(text, "n1") == expected
    assert parse_text(text, "n2") is None
    for real_memory in (128000, {"set": True, "infinite": False, "number": 128000}):
        entry = {
            "name": "n1", "sockets": 2, "cores": 8, "threads": 2, "real_memory": real_memory,
            "specialized_cpus": "0-1",
        }  # fmt: skip
        answer = parse_json(json.dumps({"nodes": [entry]}), "n1")
        assert answer == replace(expected, source="scontrol --json")
    assert parse_json("slurm_load_node error", "n1") is None


# -- the command -----------------------------------------------------------------------------


def run(root: Path, *arguments: str) -> tuple[int, str]:
    command_line = ["--root", str(root), "--node-name", "n1", "--slurm-version", "24.11", *arguments]
    result = CliRunner().invoke(command, command_line)
    return result.exit_code, result.output


def test_exit_status_is_that_of_the_worst(tmp_path: Path) -> None:
    root = node(tmp_path)
    assert run(root)[0] == 0
    assert run(root, "--quiet") == (0, "")
    edit("slurm.conf", "PrologFlags=Alloc,Contain", "")(root)
    assert run(root)[0] == 1
    edit("gres.conf", " Cores=0-7", "")(root)
    status, output = run(root, "--quiet")
    assert status == 3
    assert [line[:6] for line in output.splitlines()] == ["fail  ", "warn  "]


def test_json_has_every_field(tmp_path: Path) -> None:
    status, output = run(node(tmp_path), "--json")
    data = json.loads(output)
    assert (status, data["version"], data["name"]) == (0, 1, "n1")
    assert {tuple(finding) for finding in data["findings"]} == {("check", "status", "what", "cost", "change")}


def test_a_file_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    root = node(tmp_path)
    write("etc/slurm/gres.conf", "# ours\n[gpu]\n")(root)
    with pytest.raises(ConfError, match=r"gres\.conf:2: is not a line of gres\.conf"):
        facts(root)


def with_cards(*states: str) -> Machine:
    """A GPU and a card on each of two nodes, with these states."""
    cards = [
        Card(
            f"0001:{2 * n + 1:02x}:00.0", f"pci0001:0{2 * n}/0001:0{2 * n}:01.0", n,
            rdma=f"mlx5_{n}", states=[state],
        )
        for n, state in enumerate(states)
    ]  # fmt: skip
    return replace(TWO, cards=cards)


def test_a_gpu_whose_nearest_card_is_down_is_named_with_the_card(tmp_path: Path) -> None:
    found = wrong(facts(node(tmp_path, with_cards("4: ACTIVE", "1: DOWN"))))
    assert [(one.check, one.status) for one in found] == [("nic-down", "warn")]
    assert "mlx5_1 (NODE) of GPU 0000:31:00.0" in found[0].what


@pytest.mark.parametrize("states", [("4: ACTIVE", "4: ACTIVE"), ("1: DOWN", "1: DOWN"), ()])
def test_cards_that_are_all_up_or_all_unused_are_no_fault(tmp_path: Path, states: tuple[str, ...]) -> None:
    assert wrong(facts(node(tmp_path, with_cards(*states)))) == []


def with_acs(root: Path, control: int, size: int = 4096) -> None:
    """A fake of a bridge above the first GPU and its configuration: a list of two capabilities, then ACS."""
    link = root / "sys/bus/pci/devices/0000:01:00.0"
    gpu = link.resolve()
    link.unlink()
    bridge = root / "sys/devices/pci0000:00/0000:00:01.0"
    (bridge / "0000:01:00.0").parent.mkdir(parents=True)
    gpu.rename(bridge / "0000:01:00.0")
    for name in ("0000:00:01.0", "0000:00:01.0/0000:01:00.0"):
        place = root / "sys/bus/pci/devices" / name.rpartition("/")[2]
        place.symlink_to(f"../../../devices/pci0000:00/{name}")
    config = bytearray(4096)
    config[0x100:0x104] = (0x150 << 20 | 1 << 16 | 0x0001).to_bytes(4, "little")
    config[0x150:0x154] = (0x1 << 16 | 0x000D).to_bytes(4, "little")
    config[0x156:0x158] = control.to_bytes(2, "little")
    (bridge / "config").write_bytes(bytes(config[:size]))


def reported(root: Path, check: str) -> list[Finding]:
    found = [finding for finding in examine(facts(root)) if finding.check == check]
    assert all(finding.status == "ok" for finding in found), "reported and not judged"
    return found


ONE = Machine(packages=2, gpus=[Device(node=0, bdf="0000:01:00.0", way="pci0000:00")])


@pytest.mark.parametrize(
    ("control", "size", "said"),
    [
        (0x1D, 4096, ["ACS redirects peer traffic at 1 of 1 bridges above GPUs: 0000:00:01.0"]),
        (0x10, 4096, ["ACS redirects peer traffic at 1 of 1 bridges above GPUs: 0000:00:01.0"]),
        (0x01, 4096, ["ACS redirects no traffic at 1 bridges above GPUs"]),
        (0x1D, 64, []),  # all that others than root may read
    ],
)
def test_acs_that_redirects_is_reported(tmp_path: Path, control: int, size: int, said: list[str]) -> None:
    root = node(tmp_path, ONE)
    with_acs(root, control, size)
    assert [finding.what for finding in reported(root, "peer-traffic")] == said


def test_a_list_of_capabilities_without_end_is_read_once(tmp_path: Path) -> None:
    root = node(tmp_path, ONE)
    with_acs(root, 0)
    (root / "sys/bus/pci/devices/0000:00:01.0/config").write_bytes(
        bytes(256) + (0x100 << 20 | 1).to_bytes(4, "little") + bytes(4096 - 260)
    )
    assert len(reported(root, "peer-traffic")) == 1


@pytest.mark.parametrize(("kind", "price"), [("DMA-FQ", True), ("identity", False)])
def test_the_iommu_domains_of_gpus_are_reported(tmp_path: Path, kind: str, price: bool) -> None:
    root = node(tmp_path, ONE)
    gpu = (root / "sys/bus/pci/devices/0000:01:00.0").resolve()
    (gpu / "iommu_group").symlink_to("../../../kernel/iommu_groups/17")
    write("sys/kernel/iommu_groups/17/type", f"{kind}\n")(root)
    write("proc/cmdline", "root=/dev/sda1 iommu=pt quiet\n")(root)
    (found,) = reported(root, "peer-traffic")
    assert found.what == f"the IOMMU has the GPUs in domains of type {kind} (iommu=pt)"
    assert bool(found.cost) == price


def with_disk(tmp_path: Path, mounts: str) -> Path:
    """GPUs on two nodes and a disk on the second, with a partition, and below a logical volume."""
    disk = NvmeDisk("0001:21:00.0", "pci0001:20", 1, "nvme0")
    root = node(tmp_path, replace(TWO, disks=(disk,)))
    write("proc/self/mountinfo", mounts)(root)
    block = root / "sys/class/block"
    block.mkdir(parents=True)
    inside = "devices/pci0001:20/0001:21:00.0/nvme/nvme0/nvme0n1/nvme0n1p1"
    (block / "nvme0n1p1").symlink_to(f"../../{inside}")
    numbers = root / "sys/dev/block"
    numbers.mkdir(parents=True)
    (numbers / "259:1").symlink_to(f"../../{inside}")
    (numbers / "253:0").symlink_to("../../devices/virtual/block/dm-0")
    (root / "sys/devices/virtual/block/dm-0/slaves/nvme0n1p1").mkdir(parents=True)
    (block / "dm-0").symlink_to("../../devices/virtual/block/dm-0")
    return root


ROOT_MOUNT = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"


@pytest.mark.parametrize(
    "mount",
    [
        "22 21 259:1 / /scratch rw - xfs /dev/nvme0n1p1 rw",
        "22 21 0:51 / /scratch rw - btrfs /dev/nvme0n1p1 rw",
        "22 21 253:0 / /scratch rw shared:3 - ext4 /dev/mapper/vg-scratch rw",
    ],
)
@pytest.mark.parametrize("setting", ["TmpFS", "BasePath"])
def test_scratch_on_a_disk_of_another_node_is_reported(tmp_path: Path, mount: str, setting: str) -> None:
    root = with_disk(tmp_path, f"{ROOT_MOUNT}{mount}\n")
    path = root / "etc/slurm"
    if setting == "TmpFS":
        (path / "slurm.conf").write_text((path / "slurm.conf").read_text() + "TmpFS=/scratch/jobs\n")
    else:
        (path / "job_container.conf").write_text("NodeName=n[1-9] BasePath=/scratch/jobs\n")
    (found,) = reported(root, "scratch")
    assert found.what == (f"{setting}=/scratch/jobs is on nvme0 on node 1, 2 of 4 GPUs are on other nodes")
    assert found.cost


@pytest.mark.parametrize("mount", ["", "22 21 0:40 / /tmp rw - tmpfs tmpfs rw\n", "noise\n"])
def test_scratch_on_no_nvme_disk_is_not_mentioned(tmp_path: Path, mount: str) -> None:
    assert reported(with_disk(tmp_path, ROOT_MOUNT + mount), "scratch") == []
