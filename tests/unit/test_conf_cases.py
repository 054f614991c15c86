"""Files that sites have, of kinds for which proposals would have broken a cluster.

The cases lie beside the checkout and are read there; each has a program that makes its machine.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from builder import Device, Machine, on_nodes
from click.testing import CliRunner, Result
from numa_align.slurm_files.hostlist import expand, fold
from numa_align_conf.cli.conf import command
from numa_align_conf.edit import merged_gres
from unit.site_cases import CASES, machine_of, needs_cases


def conf(part: str, root: Path, node: str, *words: str, version: str = "25.05") -> Result:
    options = [part, "--root", str(root), "--node", node, "--slurm-version", version, *words]
    return CliRunner().invoke(command, options)


def proposed(case: str, name: str, tmp_path: Path, node: str, part: str = "slurm") -> list[str]:
    """The lines that would come into a file of the case, comments among them."""
    root = machine_of(case, tmp_path)
    result = conf(part, root, node, "--diff", str(CASES / case / name))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert result.exit_code in (0, 1), result.output
    return [line[1:] for line in result.output.splitlines() if line.startswith("+") and line[:3] != "+++"]


def node_lines(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("NodeName=")]


@needs_cases
@pytest.mark.parametrize(
    ("case", "name", "node"),
    [
        ("01-diff-drops-other-gres", "slurm.conf", "gpu[01-04]"),
        ("01-diff-drops-other-gres", "slurm-mps.conf", "gpu[01-04]"),
        ("05-node-default", "slurm.conf", "gpu01"),
        ("06-diff-changes-types", "slurm.conf", "gpu[01-04]"),
        ("06-diff-changes-types", "slurm-untyped.conf", "gpu[01-04]"),
        ("07-hostlist-width", "slurm.conf", "node05"),
        ("10-diff-cpus-equal-cores", "slurm.conf", "gpu[01-04]"),
        ("11-mig-gres-count", "slurm.conf", "n1"),
    ],
)
def test_a_node_line_that_is_right_stays(case: str, name: str, node: str, tmp_path: Path) -> None:
    assert node_lines(proposed(case, name, tmp_path, node)) == []


@needs_cases
def test_lines_for_every_node_are_not_taken_from_the_others(tmp_path: Path) -> None:
    root = machine_of("02-diff-drops-lines-of-all-nodes", tmp_path)
    path = CASES / "02-diff-drops-lines-of-all-nodes/gres.conf"
    result = conf("gres", root, "gpu01", "--diff", str(path))
    said = str(result.exception)
    assert result.exit_code != 0
    assert f"{path}:3: applies to every node" in said and "--facts" in said


@needs_cases
def test_a_line_for_every_node_goes_where_slurm_conf_knows_no_other(tmp_path: Path) -> None:
    root = machine_of("02-diff-drops-lines-of-all-nodes", tmp_path)
    site = tmp_path / "site"
    site.mkdir()
    path = site / "gres.conf"
    path.write_text((CASES / "02-diff-drops-lines-of-all-nodes/gres.conf").read_text())
    (site / "slurm.conf").write_text("NodeName=gpu01 Gres=gpu:h100:8\nNodeName=login[1-2] CPUs=8\n")
    diff = conf("gres", root, "gpu01", "--diff", str(path)).output
    assert "-AutoDetect=nvml" not in diff and "+NodeName=gpu01 AutoDetect=off" in diff
    assert "-NodeName=login[1-2]" not in diff
    (site / "slurm.conf").write_text("NodeName=gpu[01-09] Gres=gpu:h100:8\n")
    assert "gpu[02-09] too" in str(conf("gres", root, "gpu01", "--diff", str(path)).exception)


@needs_cases
def test_the_sites_types_stay_in_gres_conf(tmp_path: Path) -> None:
    root = machine_of("06-diff-changes-types", tmp_path)
    site = tmp_path / "site"
    site.mkdir()
    for name in ("gres.conf", "slurm.conf"):
        (site / name).write_text((CASES / "06-diff-changes-types" / name).read_text())
    assert conf("gres", root, "gpu[01-04]", "--diff", str(site / "gres.conf")).output == ""
    text = (site / "gres.conf").read_text()
    (site / "gres.conf").write_text(text.replace("Cores=0-47", "Cores=0-95"))
    result = conf("gres", root, "gpu[01-04]", "--diff", str(site / "gres.conf"))
    lines = [line[1:] for line in result.output.splitlines() if line.startswith("+NodeName=")]
    assert lines and all("Type=nvidia_h100_80gb_hbm3 " in line for line in lines), result.output


@needs_cases
def test_mig_profiles_are_not_invented(tmp_path: Path) -> None:
    result = conf("slurm", machine_of("11-mig-gres-count", tmp_path), "n1", version="24.11")
    (line,) = (line for line in result.output.splitlines() if line.startswith("NodeName="))
    assert "Gres=" not in line
    assert "no Gres=: GPUs have MIG instances" in " ".join(result.output.replace("# ", "").split())


@needs_cases
def test_nodes_that_register_themselves_get_words_for_slurmd(tmp_path: Path) -> None:
    lines = proposed("14-dynamic-nodes", "slurm.conf", tmp_path, "gpu-pool-0")
    assert node_lines(lines) == []
    assert any(line.startswith('# gpu-pool-0: slurmd -Z --conf "Gres=gpu:') for line in lines)


@needs_cases
def test_nodes_that_cut_packages_get_no_cores(tmp_path: Path) -> None:
    root = machine_of("19-nodes-cut-packages", tmp_path)
    text = conf("all", root, "vm1", version="25.11").output
    records = [line for line in text.splitlines() if line.startswith("NodeName=") and " File=" in line]
    assert records and not any("Cores=" in line for line in records)
    assert "numa_node_as_socket" not in text
    assert "contradict each other" in " ".join(text.replace("# ", "").split())


def partitioned(tmp_path: Path, parts: int, *words: str, part: str = "gres") -> Result:
    """Two AMD GPUs on a node each, in as many partitions."""
    devices = tuple(
        Device(node=node, vendor=0x1002, class_code=0x120000, driver="amdgpu", minor=128 + parts * node)
        for node in (0, 1)
    )
    root = Machine(packages=2, cores=8, gpus=devices).write(tmp_path / "partitioned")
    for number in range(2 * parts):
        own = root / "sys/class/kfd/kfd/topology/nodes" / str(2 + number)
        own.mkdir(parents=True)
        location = number % parts << 28 | 0x11 + 0x10 * (number // parts) << 8
        (own / "properties").write_text(f"location_id {location}\ndrm_render_minor {128 + number}\n")
    return conf(part, root, "n1", *words)


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_every_partition_of_an_amd_gpu_is_named(parts: int, tmp_path: Path) -> None:
    text = partitioned(tmp_path, parts).output
    first, second = (line.split()[3] for line in text.splitlines() if line.startswith("NodeName="))
    assert first == f"File=/dev/dri/renderD[128-{127 + parts}]"
    assert second == f"File=/dev/dri/renderD[{128 + parts}-{127 + 2 * parts}]"
    assert "2 AMD GPUs are divided" in text


@needs_cases
def test_the_partitions_of_the_case_stay(tmp_path: Path) -> None:
    case = "20-amd-cpx"
    assert node_lines(proposed(case, "slurm.conf", tmp_path, "n1")) == []
    assert proposed(case, "gres.conf", tmp_path / "again", "n1", part="gres") == []


# -- The same, without the cases' files ------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ("", "gpu:h100:8", "gpu:h100:8"),
        ("gpu:8", "gpu:h100:8", "gpu:8"),
        ("gpu:h100:4,shard:64", "gpu:h100:8", "gpu:h100:8,shard:64"),
        ("nvme:2,gpu:4", "gpu:h100:8", "nvme:2,gpu:8"),
        ("shard:8", "gpu:h100:2", "gpu:h100:2,shard:8"),
        ("gpu:a100:3,gpu:a100_3g.40gb:2", "gpu:a100:4", "gpu:a100:3,gpu:a100_3g.40gb:2"),
        ("gpu:v100:8(S:0-1)", "gpu:tesla_v100:8", "gpu:v100:8(S:0-1)"),
        ("craynetwork:4", "", "craynetwork:4"),
        ("GPU:8", "gpu:h100:8", "gpu:8"),
        ("gpu:1K", "gpu:h100:8", "gpu:8"),
        ("gpu:h100:8(S:0,1),shard:8", "gpu:h100:4", "gpu:h100:4,shard:8"),
        ("gpu:h100:no_consume:8", "gpu:h100:8", "gpu:h100:no_consume:8"),
    ],
)
def test_only_the_count_of_gpus_is_ours(old: str, new: str, merged: str) -> None:
    assert merged_gres(old, new) == merged


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("n1", "n2", "n3", "n10"), "n[1-3,10]"),
        (("n08", "n09", "n10", "n100"), "n[08-10,100]"),
        (("n99", "n100"), "n[99-100]"),
        (("n9", "n09"), "n[9,09]"),
        (("login", "a1b", "a2b"), "a[1-2]b,login"),
        (("x",), "x"),
    ],
)
def test_names_are_folded_into_what_slurm_makes_those_names_of(names: tuple[str, ...], text: str) -> None:
    assert fold(names) == text
    assert sorted(expand(text)) == sorted(names)


def test_a_range_keeps_the_width_of_its_lower_end() -> None:
    assert expand("node[08-11,098-101]")[:4] == ("node08", "node09", "node10", "node11")
    assert expand("n[01-100]")[-2:] == ("n99", "n100")


@pytest.mark.parametrize("kind", ["", "h100_80"])
def test_a_type_of_one_file_holds_in_the_other(kind: str, tmp_path: Path) -> None:
    """Types in only one of the files cause complaints, or leave the node without its GPUs."""
    root = Machine(packages=2, cores=8, gpus=on_nodes(0, 0, 1, 1)).write(tmp_path / "machine")
    site = tmp_path / "site"
    site.mkdir()
    slurm, gres = site / "slurm.conf", site / "gres.conf"
    gpu = f"gpu:{kind}:4" if kind else "gpu:4"
    slurm.write_text(f"NodeName=n1 Sockets=2 CoresPerSocket=8 RealMemory=100 Gres={gpu}\n")
    gres.write_text("AutoDetect=off\n")
    new = [line[1:] for line in conf("gres", root, "n1", "--diff", str(gres)).output.splitlines()]
    (first, second) = (line for line in new if " File=" in line)
    assert (
        (f" Type={kind} " in first and f" Type={kind} " in second) if kind else "Type=" not in first + second
    )
    untyped = "Name=gpu File=/dev/nvidia[0-1] Cores=0-7\nName=gpu File=/dev/nvidia[2-3] Cores=8-15\n"
    gres.write_text(untyped)
    again = conf("gres", root, "n1", "--diff", str(gres)).output
    assert (f" Type={kind} " in again) if kind else again == ""
    gres.write_text(f"{first}\n{second}\n")
    slurm.write_text("NodeName=n1 Sockets=2 CoresPerSocket=8 RealMemory=100\n")
    (line,) = (
        line
        for line in conf("slurm", root, "n1", "--diff", str(slurm)).output.splitlines()
        if line.startswith("+NodeName=")
    )
    assert f"Gres={gpu}" in line.split()
