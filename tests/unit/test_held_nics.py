"""The network cards that a process has open: found in a fake of /proc, judged by machines made for it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from builder import Card
from hypothesis import given, settings
from hypothesis import strategies as st
from numa_align.audit.model import Sample, TaskSample, from_json, to_json
from numa_align.cli.check import as_json, as_line
from numa_align.cli.job import picture
from numa_align.cli.job import to_json as job_to_json
from numa_align.process import open_files
from numa_align.process.held_nics import HeldNics, held_nics
from numa_align.process.of_job import Seen
from numa_align.process.open_files import OpenFiles
from numa_align.process.state import Policy, ProcessState
from numa_align.process.verdict import judge
from numa_align.sysfs import Tree
from numa_align.topology.model import Topology
from numa_align.view.audit import show_samples
from rich.console import Console, RenderableType
from unit.nics import choosable, hgx, machines_with_nics, nearest


def fake_process(proc: Path, pid: int, files: Sequence[str]) -> None:
    """A fake of a process's folder in /proc: what its descriptors are links to."""
    folder = proc / str(pid) / "fd"
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        (folder / str(number)).symlink_to(file)


def held(topology: Topology, cards: Sequence[int], gpus: Sequence[int], root: str = "/nowhere") -> HeldNics:
    files = [f"/dev/infiniband/uverbs{number}" for number in cards]
    return held_nics(files, [topology.gpus[gpu] for gpu in gpus], topology, Tree(root))


def told(nics: HeldNics) -> list[tuple[object, ...]]:
    return [(one.nic.name, one.path, one.near) for one in nics.cards]


def test_open_files_are_paths_and_nothing_else(tmp_path: Path) -> None:
    fake_process(tmp_path, 7, ["/dev/null", "socket:[77]", "/dev/infiniband/uverbs3", "anon_inode:[x]"])
    files = OpenFiles(str(tmp_path))
    assert files.of(7) == {"/dev/null", "/dev/infiniband/uverbs3"}
    assert files.of(8) == frozenset(), "a process that has ended"


def test_a_process_with_too_many_files_is_not_read_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_process(tmp_path, 7, [f"/tmp/{number}" for number in range(50)])
    monkeypatch.setattr(open_files, "MAX_FILES", 20)
    assert len(OpenFiles(str(tmp_path)).of(7)) == 20


def test_the_card_on_the_gpus_switch_is_near_and_others_are_far(tmp_path: Path) -> None:
    topology = hgx(tmp_path, range(8))
    assert told(held(topology, (3,), (3,))) == [("mlx5_3", "PIX", True)]
    assert held(topology, (3,), (3,)).remark is None
    far = held(topology, (0, 4), (3,))
    assert told(far) == [("mlx5_0", "NODE", False), ("mlx5_4", "SYS", False)]
    assert far.remark == (
        "the network cards that it has open (mlx5_0, mlx5_4) are farther from its GPUs than mlx5_3"
    )


def test_all_cards_open_as_nccl_does_is_no_remark(tmp_path: Path) -> None:
    everything = held(hgx(tmp_path, range(8)), range(8), (3,))
    assert [one.near for one in everything.cards] == [number == 3 for number in range(8)]
    assert everything.remark is None


def test_where_there_is_no_nearer_card_a_far_one_is_near(tmp_path: Path) -> None:
    assert told(held(hgx(tmp_path, (4,)), (0,), (3,))) == [("mlx5_4", "SYS", True)]


def test_a_card_of_another_fabric_is_judged_among_its_own(tmp_path: Path) -> None:
    """A task may well use the Ethernet card beside its GPU where there is InfiniBand."""
    infiniband, roce = hgx(tmp_path / "a", (0, 4)), hgx(tmp_path / "b", (1, 5), kind="roce")
    others = tuple(nic._replace(device=f"/dev/infiniband/uverbs{n + 2}") for n, nic in enumerate(roce.nics))
    topology = infiniband._replace(nics=(*infiniband.nics, *others))
    assert told(held(topology, (2,), (1,))) == [("mlx5_1", "PIX", True)]
    assert told(held(topology, (3,), (1,))) == [("mlx5_5", "SYS", False)]


def test_without_a_gpu_nothing_is_judged(tmp_path: Path) -> None:
    assert told(held(hgx(tmp_path, range(8)), (2,), ())) == [("mlx5_2", None, None)]


def test_a_virtual_function_counts_for_the_card_that_it_is_of(tmp_path: Path) -> None:
    """The prolog does not read those, so they are searched only if one is open."""
    topology = hgx(tmp_path, (0, 3), more=[Card("0000:44:00.1", "", 0, rdma="mlx5_9", physfn="0000:44:00.0")])
    assert [nic.name for nic in topology.nics] == ["mlx5_0", "mlx5_3"]
    assert told(held(topology, (2,), (3,), str(tmp_path))) == [("mlx5_9", "PIX", True)]
    assert told(held(topology, (2,), (0,), str(tmp_path))) == [("mlx5_9", "NODE", False)]


@settings(max_examples=100, deadline=None)
@given(machines_with_nics(), st.data())
def test_near_is_what_the_choice_takes(topology: Topology, data: st.DataObject) -> None:
    """The oracle is the test's own rank of the cards."""
    cards = [nic for nic in choosable(topology) if topology.gpus]
    if not cards:
        return
    gpu = data.draw(st.integers(0, len(topology.gpus) - 1))
    nic = data.draw(st.sampled_from(cards))
    number = int((nic.name or "").rpartition("_")[2])
    ((name, path, near),) = told(held(topology, (number,), (gpu,)))
    assert (name, path) == (nic.name, nic.paths[gpu])
    assert near == (nic.name in nearest(topology)[gpu])


# -- What commands print ---------------------------------------------------------------------


def shown(what: RenderableType) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_check_and_job_show_open_cards(tmp_path: Path) -> None:
    topology = hgx(tmp_path, range(8))
    gpus = (topology.gpus[3],)
    state = ProcessState(7, (0, 1), (0, 1), Policy("default"), {0: 4096}, {})
    verdict = judge(state, gpus, topology)
    far = held(topology, (4,), (3,))
    fields = [{"name": "mlx5_4", "bdf": "0000:54:00.0", "node": 1, "path": "SYS", "near": False}]
    assert as_json(state, gpus, verdict, {}, far)["nics"] == fields
    line = as_line(state, gpus, verdict, {}, far)
    assert "  nic mlx5_4:SYS  " in line and far.remark and far.remark in line
    assert " nic " not in as_line(state, gpus, verdict, {})
    seen = Seen(7, "x", 0, (0, 1), (0,), (), gpus, state, verdict, 10, None, None, far)
    assert job_to_json(1, [seen])["processes"][0]["nics"] == fields
    text = shown(picture(1, [seen]))
    assert "NICs" in text and "mlx5_4:SYS" in text and f"7: {far.remark}" in text
    assert "NICs" not in shown(picture(1, [seen.__class__(**{**vars(seen), "nics": HeldNics()})]))


def test_audit_shows_near_and_far_cards_apart() -> None:
    task = TaskSample(1, "0", 0, "ann", ("a",), "0-3", "default", 1, 1, "aligned", None, None,
                      nics=("mlx5_0", "mlx5_3"), near_nics=("mlx5_3",))  # fmt: skip
    sample = Sample("gpu01", 1.0, 8, (task,))
    assert from_json(json.loads(json.dumps(to_json(sample))), "x") == sample
    text = shown(show_samples([sample], tasks=True))
    assert "NICs near" in text and "mlx5_3" in text and "NICs far" in text


def test_a_sample_of_before_has_no_cards() -> None:
    task = TaskSample(1, "0", 0, "ann", ("a",), "0-3", "default", 1, 1, "aligned", None, None)
    data = json.loads(json.dumps(to_json(Sample("gpu01", 1.0, 8, (task,)))))
    del data["tasks"][0]["nics"], data["tasks"][0]["near_nics"]
    (read,) = from_json(data, "x").tasks
    assert read == task
