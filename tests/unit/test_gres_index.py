"""Slurm's index of a GPU, from gres.conf: right if the file determines it, else unknown."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Optional

import pytest
from builder import MEMORY
from hypothesis import given
from hypothesis import strategies as st
from numa_align.slurm_files.gres_index import Indexes, find_gres_conf, slurm_indexes
from numa_align.slurm_files.hostlist import expand, in_hostlist
from numa_align.sysfs import Tree
from numa_align.topology.gpu.pci import FoundGpu

# Minors run against addresses, so that no order can pass for another.
GPUS = tuple(
    FoundGpu("nvidia", f"0000:{bus:02x}:00.0", minor, None, "Model 1", f"/dev/nvidia{minor}")
    for bus, minor in ((0x18, 3), (0x3B, 2), (0x86, 1), (0xAF, 0))
)
UNKNOWN = (None, None, None, None)


def ask(tmp_path: Path, text: str, node: Optional[str] = "n1", divided: bool = False) -> Indexes:
    path = tmp_path / "etc/slurm/gres.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return slurm_indexes(Tree(tmp_path), find_gres_conf(Tree(tmp_path)), node, GPUS, divided)


ORDERS: dict[str, tuple[str, tuple[Optional[int], ...]]] = {
    "a range counts by minor": ("Name=gpu File=/dev/nvidia[0-3]", (3, 2, 1, 0)),
    "a range in any order, any case": ("name=GPU\tfile=/dev/nvidia[3,2,0-1]", (0, 1, 3, 2)),
    "a list, some left out": ("Name=gpu File=/dev/nvidia2,/dev/nvidia0", (None, 0, None, 1)),
    "several lines, comments, continued lines": (
        "# all of them\nName=gpu Type=a File=/dev/nvidia1 Cores=0-7 # one\n\n"
        "Name=gpu Type=a \\\n  File=/dev/nvidia[0,2] \\\n Cores=8-15\nName=gpu Type=a File=/dev/nvidia3",
        (3, 2, 0, 1),
    ),
    "other gres": (
        "Name=nic File=/dev/nic0\nName=gpu File=/dev/nvidia[0-3]\nName=shard Count=8",
        (3, 2, 1, 0),
    ),
    "lines of this node and of others": (
        "NodeName=n[1-4] Name=gpu File=/dev/nvidia[0-1]\nNodeName=n5 Name=gpu File=/dev/nvidia[0-3]\n"
        "NodeName=n1 Name=gpu File=/dev/nvidia[2-3]",
        (3, 2, 1, 0),
    ),
    "lines for all nodes come first": (
        "NodeName=n1 Name=gpu File=/dev/nvidia0\nName=gpu File=/dev/nvidia[1-3]",
        (2, 1, 0, 3),
    ),
    "a file that is no GPU has a place, too": (
        "Name=gpu File=/dev/nvidia0\nName=gpu File=/dev/tty1\nName=gpu File=/dev/nvidia1",
        (None, None, 2, 0),
    ),
    "several files of one device": (
        "Name=gpu MultipleFiles=/dev/nvidia0,/dev/nvidia-caps/nvidia-cap3\nName=gpu File=/dev/nvidia1",
        (None, None, 1, 0),
    ),
    "quotes": ('Name=gpu File="/dev/nvidia[0-3]" Flags=nvidia_gpu_env', (3, 2, 1, 0)),
    "NVML counts by address": ("AutoDetect=nvml", (0, 1, 2, 3)),
    "the driver's files count by minor": ("AutoDetect=nvidia", (3, 2, 1, 0)),
    "no detection": ("AutoDetect=off\nName=gpu File=/dev/nvidia[0-3]", (3, 2, 1, 0)),
    "this node detects otherwise": ("AutoDetect=nvml\nNodeName=n1 AutoDetect=nvidia", (3, 2, 1, 0)),
    "another node detects otherwise": ("AutoDetect=nvml\nNodeName=n2 AutoDetect=nvidia", (0, 1, 2, 3)),
    "detection and files agree": ("AutoDetect=nvml\nName=gpu File=/dev/nvidia[0-3]", (0, 1, 2, 3)),
    "detection with a type": ("NodeName=n1 AutoDetect=nvml Name=gpu Type=a", (0, 1, 2, 3)),
    "detection among other words": ("AutoDetect=NVML,mine", (0, 1, 2, 3)),
    "detection that Slurm ignores": ("Name=gpu File=/dev/nvidia[0-3] AutoDetect=nvml", (3, 2, 1, 0)),
    "a word that Slurm does not know": ("AutoDetect=nvlm\nName=gpu File=/dev/nvidia[0-3]", (3, 2, 1, 0)),
    "plural keys": ("Name=gpu Files=/dev/nvidia[2-3] Link=0\nName=gpu Files=/dev/nvidia[0-1]", (1, 0, 3, 2)),
    "names in quotes, separated by spaces": ('Name=gpu File="/dev/nvidia3 /dev/nvidia[0-2]"', (0, 3, 2, 1)),
    "a word that goes on in the next line": ("Name=gpu File=/dev/nv\\\nidia[0-3]", (3, 2, 1, 0)),
    "a comment that ends in a backslash": ("# no \\\nName=gpu File=/dev/nvidia[0-3]", (3, 2, 1, 0)),
    "a line feed of Windows": ("Name=gpu File=/dev/nvidia[0-3]\r\n", (3, 2, 1, 0)),
    "a new key": ("Name=gpu File=/dev/nvidia[0-3] UUID=GPU-1", (3, 2, 1, 0)),
}


@pytest.mark.parametrize("case", ORDERS)
def test_an_index_is_the_place_in_the_order_that_slurm_makes(case: str, tmp_path: Path) -> None:
    text, indexes = ORDERS[case]
    assert ask(tmp_path, text) == Indexes(indexes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Name=gpu Type=a File=/dev/nvidia0\nName=gpu Type=b File=/dev/nvidia1", "several types"),
        ("Name=gpu Count=4", "without File="),
        ("Name=nic File=/dev/nic0", "no GPU for this node"),
        ("", "no GPU for this node"),
        ("AutoDetect=rsmi", "AutoDetect=rsmi"),
        ("AutoDetect=full", "by address or by minor"),
        ("AutoDetect=nvml\nName=gpu File=/dev/nvidia[0-2]", "not the GPUs that AutoDetect finds"),
        ("Name=gpu File=/dev/nvidia1 Links=0,-1\nName=gpu File=/dev/nvidia0 Links=-1,0", "Links="),
        ("Name=gpu File=/dev/nvidia[0-", "not a list of names"),
        ("Name=gpu File=/dev/nvidia[0-99999999]", "not a list of names"),
        ("Name=gpu File=/dev/n[0-999][0-999]", "more than 1024"),
        ("include nothing.conf", "cannot be read"),
        ("Include %c.conf", "%c.conf: cannot be read"),
        ("include gres.conf", "more than 8 deep"),
        ("AutoDetect=nvml Name=gpu Type=a", "behind AutoDetect="),
        ("Name=gpu NodeName=n1 File=/dev/nvidia[0-3]", "has to begin the line"),
        ("File=/dev/nvidia[0-3] Name=gpu", "cannot begin a line"),
        (" include one.conf", "is not a line of gres.conf"),
    ],
)
def test_what_the_file_does_not_settle_is_not_guessed(text: str, reason: str, tmp_path: Path) -> None:
    indexes = ask(tmp_path, text)
    assert indexes.values == UNKNOWN
    assert reason in indexes.remarks[0]


def test_a_comment_may_be_in_any_encoding(tmp_path: Path) -> None:
    """0x85 ends a line for Unicode, and is three dots in Windows' code page: Slurm reads bytes."""
    path = tmp_path / "gres.conf"
    path.write_bytes(b"# caf\xe9\x85 and so on\nName=gpu File=/dev/nvidia[0-3] # \x1c \xa0\n")
    assert slurm_indexes(Tree(tmp_path), path, "n1", GPUS, False).values == (3, 2, 1, 0)


def test_a_pipe_in_place_of_the_file_does_not_stop_the_prolog(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gres.conf")
    indexes = slurm_indexes(Tree(tmp_path), tmp_path / "gres.conf", "n1", GPUS, False)
    assert indexes.values == UNKNOWN


def test_files_that_an_included_one_names_are_beside_slurm_conf(tmp_path: Path) -> None:
    """Since 23.02; 22.05 looks beside the file that has the line (both asked with `slurmd -G`)."""
    folder = tmp_path / "etc/slurm"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/one.conf").write_text("include two.conf\ninclude three.conf\n")
    (folder / "two.conf").write_text("Name=gpu File=/dev/nvidia[2-3]\n")
    (folder / "sub/three.conf").write_text("Name=gpu File=/dev/nvidia[0-1]\n")
    assert ask(tmp_path, "include sub/one.conf\n").values == (1, 0, 3, 2)


def test_a_gpu_in_two_places_has_no_index(tmp_path: Path) -> None:
    assert ask(tmp_path, "Name=gpu File=/dev/nvidia[0-3]\nName=gpu File=/dev/nvidia2").values == (
        3,
        None,
        1,
        0,
    )


def test_lines_for_single_nodes_need_the_nodes_name(tmp_path: Path) -> None:
    indexes = ask(tmp_path, "NodeName=n1 Name=gpu File=/dev/nvidia[0-3]", node=None)
    assert indexes.values == UNKNOWN
    assert "name is not known" in indexes.remarks[0]
    assert (
        ask(tmp_path, "NodeName=n1 Name=nic Count=1\nName=gpu File=/dev/nvidia[0-3]", node=None).values[0]
        == 3
    )


def test_mig_instances_have_indexes_of_their_own_under_nvml(tmp_path: Path) -> None:
    assert ask(tmp_path, "AutoDetect=nvml", divided=True).values == UNKNOWN
    assert ask(tmp_path, "AutoDetect=nvidia", divided=True).values == (3, 2, 1, 0)
    assert ask(tmp_path, "Name=gpu File=/dev/nvidia[0-3]", divided=True).values == (3, 2, 1, 0)


def test_detection_of_two_models_is_ordered_by_slurm_conf(tmp_path: Path) -> None:
    (tmp_path / "gres.conf").write_text("AutoDetect=nvml\n")
    gpus = (GPUS[0], GPUS[1]._replace(model="Model 2"))
    indexes = slurm_indexes(Tree(tmp_path), tmp_path / "gres.conf", None, gpus, False)
    assert indexes.values == (None, None)


def test_full_detection_is_known_where_all_orders_are_one(tmp_path: Path) -> None:
    (tmp_path / "gres.conf").write_text("AutoDetect=full\n")
    in_order = tuple(FoundGpu("nvidia", f"0000:0{i}:00.0", i, None, "M", f"/dev/nvidia{i}") for i in range(3))
    assert slurm_indexes(Tree(tmp_path), tmp_path / "gres.conf", None, in_order, False).values == (0, 1, 2)


def test_included_files_stand_in_their_place(tmp_path: Path) -> None:
    folder = tmp_path / "etc/slurm"
    folder.mkdir(parents=True)
    (folder / "one.conf").write_text("Name=gpu File=/dev/nvidia3\n")
    (tmp_path / "etc/two.conf").write_text("Name=gpu File=/dev/nvidia2\n")
    text = "Name=gpu File=/dev/nvidia0\ninclude one.conf\nInclude /etc/two.conf\nName=gpu File=/dev/nvidia1\n"
    assert ask(tmp_path, text).values == (1, 2, 3, 0)


def test_without_gres_conf_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert slurm_indexes(Tree(tmp_path), find_gres_conf(Tree(tmp_path)), "n1", GPUS, False) == Indexes(
        UNKNOWN
    )


def test_an_amd_gpu_is_named_by_its_render_node(tmp_path: Path) -> None:
    (tmp_path / "gres.conf").write_text("Name=gpu File=/dev/dri/renderD[128-129]\n")
    gpus = tuple(
        FoundGpu("amd", f"0000:0{9 - i}:00.0", 128 + i, device=f"/dev/dri/renderD{128 + i}") for i in (1, 0)
    )
    assert slurm_indexes(Tree(tmp_path), tmp_path / "gres.conf", None, gpus, False).values == (1, 0)


@pytest.mark.parametrize(
    ("hostlist", "names"),
    [
        ("a", ("a",)),
        ("a,b", ("a", "b")),
        ("n[8-11]", ("n8", "n9", "n10", "n11")),
        ("n[08-11]x", ("n08x", "n09x", "n10x", "n11x")),
        ("r[1-2]n[3,5]", ("r1n3", "r1n5", "r2n3", "r2n5")),
        ("", ()),
    ],
)
def test_a_list_of_names_is_expanded_in_order(hostlist: str, names: tuple[str, ...]) -> None:
    assert expand(hostlist) == names
    assert all(in_hostlist(name, hostlist) for name in names)


@pytest.mark.parametrize(
    ("name", "hostlist"),
    [
        ("n1", "n[01-10]"),
        ("n001", "n[01-10]"),
        ("n12", "n[1-3]"),
        ("n", "n[1-3]"),
        ("m1", "n1,n2"),
        ("n1", "n[1-3"),
        ("n1", "n" + "[1-3]" * 20),
    ],
)
def test_a_name_that_is_not_in_the_list_is_not(name: str, hostlist: str) -> None:
    assert not in_hostlist(name, hostlist)


@given(st.text(alphabet='n[]0123456789-,= \n\\#"Namegpufilinculdthrs/v*', max_size=200))
def test_no_text_is_too_much(text: str) -> None:
    with TemporaryDirectory(dir=MEMORY) as folder:
        (Path(folder) / "gres.conf").write_text("Name=gpu File=/dev/nvidia[0-3]\n" + text)
        indexes = slurm_indexes(Tree(Path("/")), Path(folder) / "gres.conf", "n1", GPUS, False)
    assert len(indexes.values) == 4
    assert all("\n" not in remark for remark in indexes.remarks)
