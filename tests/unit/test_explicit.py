"""The words of --cpu-bind and --mem-bind: one rule in the plugin, and Python agrees with it."""

from __future__ import annotations

import pytest
from numa_align import _claim
from numa_align.placement.launcher import bound_explicitly

NOTHING, NONE, CORES, NODES, EXPLICIT = range(5)
LOCAL, PREFER_LOCAL, MEM_EXPLICIT = 1, 2, 3


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("", NOTHING),
        ("quiet,", NOTHING),
        ("verbose", NOTHING),
        ("v", NOTHING),
        ("quiet,none", NONE),
        ("quiet,cores", CORES),
        ("verbose,threads", CORES),
        ("quiet,sockets", NODES),
        ("quiet,ldoms", NODES),
        ("boards", NODES),
        ("quiet,map_cpu:0,1", EXPLICIT),
        ("quiet,mask_cpu:0xff", EXPLICIT),
        ("quiet,rank", EXPLICIT),
        ("quiet,rank_ldom", EXPLICIT),
        ("map_ldom:0", EXPLICIT),
        ("mask_ldom:0x1", EXPLICIT),
        ("cores,map_cpu:0", EXPLICIT),
        ("something new", EXPLICIT),
    ],
)
def test_the_words_for_cpus(value: str, kind: int) -> None:
    assert _claim.lib.na_cpu_bind(value.encode()) == kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("", NOTHING),
        ("verbose", NOTHING),
        ("sort", NOTHING),
        ("quiet,local", LOCAL),
        ("v,local", LOCAL),
        ("quiet,prefer,local", PREFER_LOCAL),
        ("local,p", PREFER_LOCAL),
        ("quiet,prefer,map_mem:0", MEM_EXPLICIT),
        ("quiet,map_mem:0,1", MEM_EXPLICIT),
        ("quiet,mask_mem:0x1", MEM_EXPLICIT),
        ("quiet,rank", MEM_EXPLICIT),
        ("quiet,none", MEM_EXPLICIT),
    ],
)
def test_the_words_for_memory(value: str, kind: int) -> None:
    assert _claim.lib.na_mem_bind(value.encode()) == kind


#: As slurmstepd writes SLURM_CPU_BIND_TYPE; a task cannot know who chose mask_cpu.
@pytest.mark.parametrize(
    "word",
    [
        "none",
        "cores",
        "threads",
        "sockets",
        "ldoms",
        "map_cpu:",
        "map_ldom:",
        "mask_ldom:",
        "rank",
        "rank_ldom",
    ],
)
def test_python_keeps_hands_off_the_same_cpus(word: str) -> None:
    explicit, _ = bound_explicitly({"SLURM_CPU_BIND_TYPE": word})
    assert explicit == (_claim.lib.na_cpu_bind(word.encode()) == EXPLICIT)


@pytest.mark.parametrize("word", ["local", "none", "rank", "map_mem:", "mask_mem:", ""])
def test_python_keeps_hands_off_the_same_memory(word: str) -> None:
    _, explicit = bound_explicitly({"SLURM_MEM_BIND_TYPE": word})
    assert explicit == (_claim.lib.na_mem_bind(word.encode()) == MEM_EXPLICIT)


@pytest.mark.parametrize(
    ("value", "parts", "inherited"),
    [
        ("quiet,mask_cpu:0xFF", ("quiet", "mask_cpu:", "0xFF"), True),
        ("quiet,prefer,local", ("quiet", "local", ""), True),
        ("quiet,local", ("quiet", "local", None), True),
        ("map_cpu:3", ("quiet", "mask_cpu:", "0xFF"), False),
        ("mask_cpu:0xFF", ("quiet", "mask_cpu:", "0xFF"), False),
        ("local", ("quiet", None, None), False),
        ("quiet,", ("quiet", "", ""), True),
        ("", ("quiet", "mask_cpu:", "0xFF"), False),
        ("quiet", ("quiet", "", ""), False),
        ("0xFF", ("quiet", "mask_cpu:", "0xFF"), False),
    ],
)
def test_what_slurmstepd_wrote_for_a_task(value: str, parts: tuple[str | None, ...], inherited: bool) -> None:
    texts = [_claim.ffi.NULL if part is None else part.encode() for part in parts]
    assert _claim.lib.na_bind_inherited(value.encode(), *texts) is inherited


@pytest.mark.parametrize(
    ("nodes", "state", "reason"),
    [("0", 0, ""), ("", 0, ""), ("1", 1, "--mem-bind"), ("0-1", 1, "NUMA nodes 0-1")],
)
def test_memory_elsewhere_is_never_aligned(nodes: str, state: int, reason: str) -> None:
    placement, task = _claim.ffi.new("struct na_placement *"), _claim.ffi.new("struct na_task *")
    placement.gpu_count, task.mem_explicit = 1, True
    _claim.lib.na_set_parse(_claim.ffi.addressof(placement.mems), b"0")
    kernel = _claim.ffi.new("struct na_set *")
    if nodes:
        assert _claim.lib.na_set_parse(kernel, nodes.encode())
    _claim.lib.na_judge_memory(task, placement, kernel)
    assert placement.state == state
    assert reason in _claim.ffi.string(placement.reason).decode()
