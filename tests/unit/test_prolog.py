"""The prolog and epilog: a table for a job, and nothing that fails it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Optional

import pytest
from builder import Machine, on_nodes
from numa_align.errors import NumaAlignError
from numa_align.hooks import prolog
from numa_align.hooks.prolog_conf import read_prolog_conf
from numa_align.placement.table import STALE_SECONDS, remove_table, write_table
from numa_align.process import make_room
from numa_align.process.room import AUTO, OFF, Room
from numa_align.topology.model import Topology

DAY = 24 * 3600

TWO_NODES = Machine(packages=2, cores=4, gpus=on_nodes(0, 0, 1, 1))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    TWO_NODES.write(tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "run"


def table_of(directory: Path, number: int) -> str:
    return (directory / str(number)).read_text(encoding="ascii")


def test_the_prolog_writes_the_machine_for_the_job(root: Path, directory: Path) -> None:
    environment = {"SLURM_JOB_ID": "42", "SLURM_CONF": str(root / "etc/slurm/slurm.conf")}
    prolog.write_job_table(environment, root, directory)
    lines = table_of(directory, 42).splitlines()
    assert lines[0] == "numa-align-table 1"
    assert "job 42" in lines
    assert sum(line.startswith("node ") for line in lines) == 2
    assert sum(line.startswith("core ") for line in lines) == 8
    assert sum(line.startswith("gpu ") for line in lines) == 4
    assert lines[-1] == f"end {len(lines) - 1}"


def test_the_table_says_which_gpus_the_job_holds(root: Path, directory: Path) -> None:
    conf = root / "etc/slurm"
    conf.mkdir(parents=True)
    (conf / "gres.conf").write_text("Name=gpu File=/dev/nvidia[0-3]\n")
    environment = {"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "1,3", "SLURM_CONF": str(conf / "slurm.conf")}
    prolog.write_job_table(environment, root, directory)
    gpus = [line.split() for line in table_of(directory, 7).splitlines() if line.startswith("gpu ")]
    assert {fields[4]: fields[8] for fields in gpus} == {"0": "no", "1": "yes", "2": "no", "3": "yes"}


def test_a_machine_without_gpus_gets_a_table_too(tmp_path: Path, directory: Path) -> None:
    Machine(packages=2, cores=2).write(tmp_path / "root")
    assert prolog.write_job_table({"SLURM_JOB_ID": "1"}, tmp_path / "root", directory) == []
    assert "gpu " not in table_of(directory, 1)


def test_gpus_that_slurm_gave_but_nobody_finds_are_a_warning(tmp_path: Path, directory: Path) -> None:
    Machine(packages=1, cores=2).write(tmp_path / "root")
    environment = {"SLURM_JOB_ID": "1", "SLURM_JOB_GPUS": "0"}
    warnings = prolog.write_job_table(environment, tmp_path / "root", directory)
    assert any("no GPU was found" in warning for warning in warnings)


@pytest.mark.parametrize("number", ["", "x", "-1", "1/../2", "٣"])
def test_a_job_id_that_is_no_number_is_refused(root: Path, directory: Path, number: str) -> None:
    with pytest.raises(NumaAlignError, match="SLURM_JOB_ID"):
        prolog.write_job_table({"SLURM_JOB_ID": number}, root, directory)


def test_whatever_goes_wrong_the_prolog_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(prolog, "_log", said.append)
    monkeypatch.setenv("SLURM_JOB_ID", "not a number")
    prolog.prolog()
    prolog.epilog()
    assert [line.split(":")[0] for line in said] == ["prolog", "epilog"]


def test_tables_are_readable_by_all_and_writable_by_root_alone(directory: Path) -> None:
    before = os.umask(0o077)
    try:
        path = Path(write_table("text\n", 3, directory))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    assert directory.stat().st_mode & 0o777 == 0o755


def test_a_link_in_the_tables_place_is_replaced_not_followed(tmp_path: Path, directory: Path) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    directory.mkdir(mode=0o755)
    for name in ("3", ".3.new"):
        (directory / name).symlink_to(target)
    write_table("text\n", 3, directory)
    assert target.read_text() == "untouched"
    assert not (directory / "3").is_symlink()
    assert sorted(path.name for path in directory.iterdir()) == ["3"]


def test_a_folder_that_others_can_write_is_refused(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.raises(NumaAlignError, match="users other than root"):
        write_table("text\n", 3, directory)


def test_removing_a_table_that_is_not_there_is_no_error(directory: Path) -> None:
    remove_table(3, directory)
    write_table("text\n", 3, directory)
    remove_table(3, directory)
    assert list(directory.iterdir()) == []


def test_old_tables_of_jobs_that_are_gone_are_swept(directory: Path) -> None:
    old = Path(write_table("text\n", 4000000001, directory))
    young = Path(write_table("text\n", 4000000002, directory))
    now = old.stat().st_mtime + STALE_SECONDS + 10
    os.utime(young, (now, now))
    assert prolog.sweep(directory, now) == [4000000001]
    assert [path.name for path in directory.iterdir()] == [young.name]


def test_a_table_is_kept_until_a_day_after_the_time_limit_of_its_job(root: Path, directory: Path) -> None:
    """Between two steps nothing of the job is here; nor is there ever a slurmstepd of this one."""
    start = time.time()
    environment = {"SLURM_JOB_ID": "4000000001", "SLURM_JOB_END_TIME": str(int(start) + 3 * DAY)}
    prolog.write_job_table(environment, root, directory)
    assert prolog.sweep(directory, start + 3.9 * DAY) == []
    assert prolog.sweep(directory, start + 4.1 * DAY) == [4000000001]


@pytest.mark.parametrize("said", ["", "x", "-1", "\u0664", "9" * 40, "1e9"])
def test_a_table_without_the_jobs_end_is_kept_for_a_month(root: Path, directory: Path, said: str) -> None:
    start = time.time()
    prolog.write_job_table({"SLURM_JOB_ID": "4000000001", "SLURM_JOB_END_TIME": said}, root, directory)
    assert prolog.sweep(directory, start + 31 * DAY) == []
    assert prolog.sweep(directory, start + 33 * DAY) == [4000000001]


@pytest.mark.parametrize("said", ["0", "1", "9" * 11])
def test_a_wrong_end_of_a_job_costs_no_table(root: Path, directory: Path, said: str) -> None:
    """A clock that was set, a job without limit."""
    prolog.write_job_table({"SLURM_JOB_ID": "4000000001", "SLURM_JOB_END_TIME": said}, root, directory)
    assert prolog.sweep(directory, time.time() + 0.9 * DAY) == []
    assert table_of(directory, 4000000001)


@pytest.mark.parametrize(
    ("text", "room"),
    [
        (None, None),
        ("", None),
        ("room=off", OFF),
        ("# ours\nroom=auto  # for now\n", AUTO),
        ("room = 8G\n", Room(True, 8 << 30)),
    ],
)
def test_the_site_says_how_much_room(tmp_path: Path, text: Optional[str], room: Optional[Room]) -> None:
    if text is not None:
        (tmp_path / "etc/numa-align").mkdir(parents=True)
        (tmp_path / "etc/numa-align/prolog.conf").write_text(text)
    assert read_prolog_conf(str(tmp_path / "etc/numa-align/prolog.conf")).room == room


@pytest.mark.parametrize(
    ("text", "said"),
    [("room=much", r'prolog.conf: room: "much" is not one of off\|auto\|SIZE'),
     ("\nroon=off", r'prolog.conf: unknown key "roon"'),
     ("x" * 100_000, "is too large")],
)  # fmt: skip
def test_a_wrong_word_is_named_and_makes_no_room(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "etc/numa-align").mkdir(parents=True)
    (tmp_path / "etc/numa-align/prolog.conf").write_text(text)
    topology = TWO_NODES.topology()
    with pytest.raises(NumaAlignError, match=said):
        prolog.make_job_room({"SLURM_JOB_ID": "1", "SLURM_JOB_GPUS": "0"}, topology, tmp_path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[int, int]]:
    """The part that asks the kernel is a fake here; tests/unit/test_room.py has the real one where it can."""
    asked: list[dict[int, int]] = []

    def fake(wanted: dict[int, int]) -> tuple[()]:
        asked.append(wanted)
        return ()

    monkeypatch.setattr(make_room, "make_room", fake)
    return asked


def indexed() -> Topology:
    """TWO_NODES with Slurm's indexes."""
    topology = TWO_NODES.topology()
    gpus = tuple(gpu._replace(index=number) for number, gpu in enumerate(topology.gpus))
    return topology._replace(gpus=gpus)


def test_room_is_made_for_the_jobs_own_gpus(asked: list[dict[int, int]], tmp_path: Path) -> None:
    (tmp_path / "etc/numa-align").mkdir(parents=True)
    (tmp_path / "etc/numa-align/prolog.conf").write_text("room=auto\n")
    topology = indexed()
    for held in ("1,3", "2-3", "", "x"):
        assert prolog.make_job_room({"SLURM_JOB_ID": "1", "SLURM_JOB_GPUS": held}, topology, tmp_path) == ()
    share = topology.nodes[0].memory_bytes * 3 // 4
    assert asked == [{0: share // 2, 1: share // 2}, {1: share}]


@pytest.mark.parametrize(
    ("files", "conf", "made"),
    [([0, 1], None, True), ([0, 1], "# nothing\n", True), ([0, 1], "room=off\n", False),
     ([0], None, False), ([], None, False), ([], "# nothing\n", False)],
)  # fmt: skip
def test_room_is_built_in_where_the_kernel_makes_it(
    asked: list[dict[int, int]], tmp_path: Path, files: list[int], conf: Optional[str], made: bool
) -> None:
    for node in files:
        (tmp_path / f"sys/devices/system/node/node{node}").mkdir(parents=True)
        (tmp_path / f"sys/devices/system/node/node{node}/reclaim").touch()
    if conf is not None:
        (tmp_path / "etc/numa-align").mkdir(parents=True)
        (tmp_path / "etc/numa-align/prolog.conf").write_text(conf)
    prolog.make_job_room({"SLURM_JOB_ID": "1", "SLURM_JOB_GPUS": "0"}, indexed(), tmp_path)
    assert len(asked) == made
