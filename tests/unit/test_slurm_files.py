"""Slurm's files are read by Slurm's rules; each of them was tried with `slurmd -G` of real Slurm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numa_align.errors import ConfError
from numa_align.slurm_files.conffile import parse_conf, physical_lines, read_conf
from numa_align.slurm_files.gres_lines import core_numbers, detection, detector, gpu_lines
from numa_align.slurm_files.node_lines import node_line

ROOT = Path(__file__).resolve().parents[2]


def pairs(text: str, what: str = "slurm.conf") -> list[dict[str, str]]:
    return [dict(line.pairs) for line in parse_conf(text, f"/x/{what}", what).lines]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Key=Value", [{"key": "Value"}]),
        (" KEY = value  Other=2 ", [{"key": "value", "other": "2"}]),
        ("Key+=1", [{"key": "1"}]),
        ("Key=a#b", [{"key": "a"}]),
        ("Key=a\\#b", [{"key": "a#b"}]),
        ("Key=a\\\\#b", [{"key": "a\\"}]),
        ("Key=a\\\\\\#b", [{"key": "a\\#b"}]),
        ("Key=ab\\\ncd", [{"key": "abcd"}]),
        ("Key=ab \\ \n Other=cd", [{"key": "ab", "other": "cd"}]),
        ("Key=ab\\", [{"key": "ab"}]),
        ("# nothing \\\nKey=1", [{"key": "1"}]),
        ('Key="a b" Other="" Third="x"', [{"key": "a b", "other": "", "third": "x"}]),
        ('Key="a b"c', None),
        ('Key="ab"c', [{"key": '"ab"c'}]),
        ("Key= Other=1", [{"key": "Other=1"}]),
        ("Key=1\tOther=2\vThird=3\f\r", [{"key": "1", "other": "2", "third": "3"}]),
        ("Key=a\u00a0b", [{"key": "a\u00a0b"}]),
        ("Key=1 # a\u0085b\u2028c", [{"key": "1"}]),
        ("Key", None),
        ("Key=", None),
        ("=1", None),
        ("Key=1 word", None),
        ("a b=1", None),
    ],
)
def test_a_line_is_what_slurm_takes_it_for(text: str, expected: list[dict[str, str]] | None) -> None:
    if expected is None:
        with pytest.raises(ConfError, match=r"/x/slurm.conf:1: is not a line of slurm.conf"):
            pairs(text)
    else:
        assert pairs(text) == expected


def test_lines_have_the_numbers_that_slurm_and_editors_count(tmp_path: Path) -> None:
    path = tmp_path / "slurm.conf"
    path.write_bytes(b"# caf\xe9 \x85\nA=1 \\\n B=2\n\nC=3\r\n# \x1c\nD=4")
    file = read_conf(path, "slurm.conf")
    assert [(line.first, line.end) for line in file.lines] == [(1, 3), (4, 5), (6, 7)]
    assert file.lines[-1].place == f"{path}:7"
    assert len(physical_lines(file.text)) == 7


@pytest.mark.parametrize("word", ["include", "Include", "INCLUDE"])
@pytest.mark.parametrize("space", [" ", "\t", " \t "])
def test_any_white_space_follows_include(word: str, space: str, tmp_path: Path) -> None:
    (tmp_path / "one.conf").write_text("A=1\n")
    (tmp_path / "slurm.conf").write_text(f"{word}{space}one.conf\n")
    assert read_conf(tmp_path / "slurm.conf", "slurm.conf").value("a") == "1"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("include none.conf", "none.conf: cannot be read: No such file"),
        ("include sub", "sub: cannot be read: Is a directory"),
        ("include *.conf", "cannot be read"),
        ("include slurm.conf", "more than 8 deep"),
        ("include one.conf A=1", "is not a line"),
        ("  include one.conf", "is not a line"),
        ("include", "is not a line"),
        ("A=\x1b[31m", "is not text"),
        ("A=\0", "is not text"),
    ],
)
def test_what_slurm_does_not_read_is_one_clear_line(line: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "one.conf").write_text("A=1\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "slurm.conf").write_text(f"# first\n{line}\n")
    with pytest.raises(ConfError, match=reason) as caught:
        read_conf(tmp_path / "slurm.conf", "slurm.conf")
    assert "slurm.conf:2: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_path_shows_the_root(tmp_path: Path) -> None:
    etc = tmp_path / "etc/slurm"
    etc.mkdir(parents=True)
    (etc / "slurm.conf").write_text("ClusterName=Big\ninclude /opt/%c.conf\ninclude beside.conf\n")
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/big.conf").write_text("A=1\n")
    (etc / "beside.conf").write_text("B=2\n")
    file = read_conf(etc / "slurm.conf", "slurm.conf", str(tmp_path))
    assert [line.place for line in file.lines] == [
        "/etc/slurm/slurm.conf:1",
        "/opt/big.conf:1",
        "/etc/slurm/beside.conf:1",
    ]
    (etc / "beside.conf").write_text("nothing\n")
    with pytest.raises(ConfError, match=r"^/etc/slurm/beside\.conf:1: "):
        read_conf(etc / "slurm.conf", "slurm.conf", str(tmp_path))


@given(st.binary(max_size=120) | st.text(alphabet='aK=#\\" \t\r\n,[]0', max_size=60).map(str.encode))
def test_no_bytes_are_too_much(data: bytes) -> None:
    text = data.decode("latin-1")
    try:
        file = parse_conf(text, "/x/slurm.conf", "slurm.conf")
    except ConfError as error:
        assert str(error).startswith("/x/slurm.conf:")
    else:
        ends = [line.end for line in file.lines]
        assert ends == sorted(set(ends))
        assert not ends or ends[-1] <= len(physical_lines(text))
        assert all(key and key == key.lower() for line in file.lines for key, _ in line.pairs)


def test_the_prolog_loads_no_heavy_module_for_slurms_files() -> None:
    heavy = {"pathlib", "dataclasses", "inspect", "json", "subprocess"}
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'prolog')!r}]; before = set(sys.modules); "
        "import numa_align.slurm_files.gres_index; "
        f"print(sorted({heavy!r} & (set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# -- gres.conf ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0-3", (0, 1, 2, 3)),
        ("[0-3]", (0, 1, 2, 3)),
        ("2,0", (0, 2)),
        ("0-8:4", (0, 4)),
        ("0-9:4", (0, 4, 8)),
        ("0-7:1/2", None),
        ("4:2", None),
        ("x", None),
        ("3-1", None),
        ("", None),
        ("0-9:0", None),
    ],
)
def test_cores_are_read_as_slurm_reads_them(text: str, numbers: tuple[int, ...] | None) -> None:
    assert core_numbers(text) == numbers


@pytest.mark.parametrize(
    ("value", "release", "word"),
    [
        ("nvml", None, "nvml"),
        ("NVML", None, "nvml"),
        ("my-nvml,x", None, "nvml"),
        ("nvml,full", None, "full"),
        ("off", None, "off"),
        ("Off", None, "off"),
        ("off,x", None, None),
        ("amdgpu", None, None),
        ("nvidia", (24, 11), "nvidia"),
        ("nvidia", (24, 5), None),
        ("full", (25, 11), None),
        ("full", (26, 5), "full"),
    ],
)
def test_autodetect_looks_for_words_that_the_release_knows(
    value: str, release: tuple[int, int] | None, word: str | None
) -> None:
    assert detector(value, release) == word


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("AutoDetect=nvml", "nvml"),
        ("AutoDetect=rsmi\nAutoDetect=nvml", "nvml"),
        ("AutoDetect=nvml\nNodeName=n1 AutoDetect=off", "off"),
        ("NodeName=n1 AutoDetect=off\nAutoDetect=nvml", "off"),
        ("NodeName=n2 AutoDetect=off\nAutoDetect=nvml", "nvml"),
        ("NodeName=n1 AutoDetect=nvlm\nAutoDetect=nvml", "nvml"),
        ("Name=gpu AutoDetect=nvml File=/dev/nvidia0", "off"),
        ("NodeName=n1 Name=nic AutoDetect=nvml", "nvml"),
        ("", "off"),
    ],
)
def test_a_nodes_own_autodetect_wins(text: str, word: str) -> None:
    assert detection(gpu_lines(parse_conf(text, "/x/gres.conf", "gres.conf"), "n1")) == word


# -- slurm.conf --------------------------------------------------------------------------------


def test_default_lines_add_up_and_a_nodes_own_words_win() -> None:
    text = (
        "NodeName=n0\n"
        "NodeName=DEFAULT Sockets=2 Gres=gpu:4 Parameters=numa_node_as_socket\n"
        "nodename=default Gres=gpu:8 CpuSpecList=0\n"
        "NodeName=n[1-2] Gres=gpu:2\n"
        "NodeName=c[1-9] NodeHostname=n[3-11]\n"
    )
    lines = parse_conf(text, "/x/slurm.conf", "slurm.conf").lines
    one, other, first = node_line(lines, "n2"), node_line(lines, "n7"), node_line(lines, "n0")
    assert one is not None and other is not None and first is not None
    assert one.settings == {
        "sockets": "2",
        "gres": "gpu:2",
        "parameters": "numa_node_as_socket",
        "cpuspeclist": "0",
    }
    assert other.names == "c[1-9]" and other.settings["gres"] == "gpu:8"
    assert first.settings == {}
    assert node_line(lines, "DEFAULT") is None


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "slurm.conf")
    assert read_conf(tmp_path / "slurm.conf", "slurm.conf").lines == ()
