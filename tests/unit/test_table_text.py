"""The binding table between its writer (Python) and its reader (C): all of it arrives, or none."""

from __future__ import annotations

import random

import pytest
from builder import Machine as Built
from builder import on_nodes
from hypothesis import given, settings
from hypothesis import strategies as st
from numa_align.errors import TableError
from numa_align.placement.claim import ClaimMachine
from numa_align.placement.table import format_table
from numa_align.topology.model import Topology
from unit.machines import topologies

TOPOLOGY = Built(packages=2, cores=4, smt=2, gpus=on_nodes(0, 1)).topology()
TEXT = format_table(TOPOLOGY, 7, boot="b", job_gpus=[1], note="why")


#: As version 0.1.0's first prolog wrote it: jobs that run while numa-align is upgraded have such tables.
FIRST = """numa-align-table 1
boot b
job 42
node 0 cpu 68719476736 0-1,4-5 10,32
node 1 cpu 68719476736 2-3,6-7 32,10
core 0,4 0 0 0
core 1,5 0 0 0
core 2,6 1 1 2
core 3,7 1 1 2
gpu nvidia 0000:11:00.0 0 - 0 numa_node 0 - - /dev/nvidia0 -
gpu nvidia 0000:21:00.0 1 - 1 numa_node 1 - - /dev/nvidia1 -
note why
end 12
"""
#: Words and numbers of fields of the records that the first plugin read; it refused all others.
FIRST_RECORDS = {"boot": 2, "job": 2, "node": 6, "core": 5, "gpu": 12}


def renumbered(lines: list[str]) -> str:
    """A table whose last line is right again."""
    return "\n".join([*lines, f"end {len(lines)}", ""])


@settings(max_examples=100, deadline=None)
@given(topologies())
def test_every_machine_passes_through_a_table(topology: Topology) -> None:
    machine = ClaimMachine.of(topology)
    assert machine.gpus == tuple(gpu.bdf for gpu in topology.gpus)
    nodes = [node.id for node in topology.nodes]
    assert machine.claim(topology.online, nodes)


@settings(max_examples=100, deadline=None)
@given(topologies(), st.randoms(use_true_random=False))
def test_result_does_not_depend_on_the_order_of_lines(topology: Topology, rng: random.Random) -> None:
    lines = format_table(topology, 7).splitlines()[:-1]
    # Nodes come first and in their order: the columns of distances are in that order too.
    head = [line for line in lines if not line.startswith(("core ", "gpu "))]
    rest = [line for line in lines if line.startswith(("core ", "gpu "))]
    rng.shuffle(rest)
    homes = [gpu.node for gpu in topology.gpus] or [topology.nodes[0].id]
    shuffled = ClaimMachine(renumbered(head + rest))
    assert shuffled.gpus == ClaimMachine.of(topology).gpus
    assert shuffled.claim(topology.online, homes) == ClaimMachine.of(topology).claim(topology.online, homes)


def test_a_table_of_the_first_version_is_read() -> None:
    machine = ClaimMachine(FIRST)
    assert machine.gpus == ("0000:11:00.0", "0000:21:00.0")
    assert machine.claim(range(8), [1]) == ((2, 3, 6, 7),)


@settings(max_examples=50, deadline=None)
@given(topologies())
def test_the_first_version_reads_every_table_of_this_one(topology: Topology) -> None:
    """A downgrade: a plugin that is older than the prolog passes over notes, and refuses new words."""
    header, *records, end = format_table(topology, 7, boot="b", note="why").splitlines()
    assert header == FIRST.splitlines()[0] and end == f"end {1 + len(records)}"
    for record in records:
        word, *_ = fields = record.split(" ")
        assert word == "note" or len(fields) == FIRST_RECORDS[word]


@pytest.mark.parametrize("job", [2**31 - 1, 2**31, 2**32 - 2])
def test_a_job_of_a_federation_has_a_table(job: int) -> None:
    assert ClaimMachine(format_table(TOPOLOGY, job)).gpus == ClaimMachine(TEXT).gpus


@pytest.mark.parametrize(
    ("built", "complaint"),
    [
        (Built(packages=1, cores=2, smt=17), "17 hardware threads"),
        (Built(packages=1, cores=2, gpus=on_nodes(*[0] * 257)), "257 GPUs"),
    ],
)
def test_what_the_plugin_would_refuse_is_not_written(built: Built, complaint: str) -> None:
    with pytest.raises(TableError, match=complaint):
        format_table(built.topology(), 7)


def test_the_greatest_machine_is_read() -> None:
    topology = Built(packages=1, cores=2, smt=16, gpus=on_nodes(*[0] * 256)).topology()
    assert len(ClaimMachine(format_table(topology, 7)).gpus) == 256


@pytest.mark.parametrize("keep", range(0, len(TEXT), 7))
def test_table_that_is_cut_off_is_refused(keep: int) -> None:
    with pytest.raises(TableError):
        ClaimMachine(TEXT[:keep])


def with_line(index: int, line: str) -> str:
    lines = TEXT.splitlines()[:-1]
    lines[index] = line
    return renumbered(lines)


def first(word: str) -> int:
    return next(i for i, line in enumerate(TEXT.splitlines()) if line.startswith(word))


NODE, CORE, GPU = first("node "), first("core "), first("gpu ")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("hello\n", "not a binding table"),
        ("numa-align-table 2\n", "another version .this is 1.: start the job again, or let root run its"),
        (TEXT + "x\n", "follows the end"),
        (TEXT.replace("end ", "end 1"), "cut off|not a record"),
        (TEXT.replace("\n", "\r\n"), "another version"),
        (TEXT.replace("boot b\n", ""), "not a record|cut off"),
        (renumbered([line for line in TEXT.splitlines()[:-1] if not line.startswith("boot")]), "missing"),
        (with_line(NODE, "node 0 cpu 1 0-3,8-11 10"), "as many distances"),
        (with_line(NODE, "node 0 cpu 1 0-3,8-11 10,21,21"), "as many distances"),
        (with_line(NODE, "node 0 cpu 1 0-3,8-11 10,999"), "distance is a number"),
        (with_line(NODE, "node 0 gpu 1 0-3,8-11 10,21"), "kind of node"),
        (with_line(NODE, "node 5 cpu 1 0-3,8-11 10,21"), "ascending"),
        (with_line(NODE, "node 0 cpu -1 0-3,8-11 10,21"), "size of memory"),
        (with_line(NODE, "node 0 cpu 1 3-0 10,21"), "list of CPUs"),
        (with_line(NODE, "node 9999 cpu 1 0 10,21"), "node number"),
        (with_line(CORE, "core 1,9 0 0 0"), "two cores"),
        (with_line(CORE, "core - 0 0 0"), "list of CPUs"),
        (with_line(CORE, "core 0,8192 0 0 0"), "list of CPUs"),
        (with_line(CORE, "core 100-120 0 0 0"), "more than 16"),
        (with_line(CORE, "core 0,8 3 0 0"), "not in the table"),
        (with_line(CORE, "core 0,8 0 0"), "not a record"),
        (with_line(CORE, "core  0,8 0 0 0"), "not a record|list of CPUs"),
        (with_line(GPU, TEXT.splitlines()[GPU].replace(" 0 - - /", " 0 perhaps - /")), "membership"),
        (
            with_line(GPU, "gpu a-vendor-whose-name-has-24 0000:11:00.0 0 - 0 numa_node 0 no - - -"),
            "too long",
        ),
        (with_line(GPU, "gpu nvidia 0000:11:00.0 0 - 0 numa_node 0 no - /etc/passwd -"), "device file"),
        (with_line(GPU, "gpu nvidia 0000:11:00.0 0 - 0 numa_node 0 no - /dev/../x -"), "device file"),
        (with_line(GPU, "gpu nvidia 0000:11:00.0 0 - 0 numa_node 0 no 1:2:3 - -"), "device number"),
        (renumbered([*TEXT.splitlines()[:-1], *["gpu x"] * 300]), "more nodes, cores, GPUs or cards"),
        ("numa-align-table 1\nboot -\njob 1\nend 3\n", "no NUMA node"),
        (TEXT.replace("numa_node", "numa\0node"), "not a binding table"),
    ],
)
def test_wrong_table_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(TableError, match=complaint) as caught:
        ClaimMachine(text)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.characters(max_codepoint=255))
def test_any_changed_byte_is_survived(position: int, character: str) -> None:
    try:
        machine = ClaimMachine(TEXT[:position] + character + TEXT[position + 1 :])
    except TableError:
        return
    for cpus in machine.claim(range(16), [None]):
        assert not cpus


def test_node_cpus_are_those_of_its_cores_whatever_else_is_listed() -> None:
    """A node that lists CPUs which no core has (offline, or of another node) does not lend them out."""
    machine = ClaimMachine(with_line(NODE, "node 0 cpu 1 0-15,77 10,21"))
    assert machine.claim(range(100), [0, 1]) == ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))


def test_a_vendor_with_a_longer_name_is_read() -> None:
    """A name of eight letters once refused the whole table, and with it every job of the node."""
    assert ClaimMachine(with_line(GPU, "gpu elevenletter 0000:11:00.0 0 - 0 numa_node 0 no - - -")).gpus
