"""`--numa-align` on real Slurm: each case judged by what the kernel says of the running task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from machine import EmulatedMachine

from .steps import ADVICE, PROBE, Rank, allocated, ranks_of, step, warnings_of

pytestmark = pytest.mark.machine

CPUS = {0: frozenset(range(4)), 1: frozenset(range(4, 8))}


def node_of(minor: int) -> int:
    """GPUs 0-3 are on node 0, 4-7 on node 1."""
    return minor // 4


def assert_on_node(rank: Rank, node: int) -> None:
    assert rank.cpus <= CPUS[node], rank
    assert (rank.mode, rank.nodes) == ("preferred-many", (node,)), rank
    assert rank.pages_on(node) >= 0.99, rank
    assert rank.environment["NUMA_ALIGN_STATE"] == "aligned"


def assert_disjoint(ranks: Sequence[Rank]) -> None:
    counts = Counter(cpu for rank in ranks for cpu in rank.cpus)
    assert max(counts.values()) == 1, counts


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        ("-n8 --gpus=8", [[0], [1], [2], [3], [4], [5], [6], [7]]),
        ("-n4 -c2 --gpus=4", [[0], [1], [4], [5]]),
        ("-n1 --gpus=1", [[0]]),
        ("-n2 --gpus=8", [[0, 1, 2, 3], [4, 5, 6, 7]]),
    ],
)
def test_rank_i_runs_on_the_node_of_its_gpu(
    machine: EmulatedMachine, options: str, gpus: list[list[int]]
) -> None:
    ranks = step(machine, f"srun --numa-align {options} {PROBE}")
    assert len(ranks) == len(gpus)
    for rank, minors in zip(ranks, gpus):
        assert set(minors) <= set(rank.gpus), "Slurm gave other GPUs than this test expects"
        assert_on_node(rank, node_of(minors[0]))
    assert_disjoint(ranks)


def test_a_task_with_a_gpu_of_its_own_runs_on_its_node(machine: EmulatedMachine) -> None:
    ranks = step(machine, f"srun --numa-align -n8 --gpus-per-task=1 {PROBE}")
    assert sorted(minor for rank in ranks for minor in rank.gpus) == list(range(8))
    for rank in ranks:
        assert_on_node(rank, node_of(rank.gpus[0]))
    assert_disjoint(ranks)


def test_tasks_bound_to_the_closest_gpus_stay_on_their_node(machine: EmulatedMachine) -> None:
    ranks = step(machine, f"srun --numa-align -n8 --gpus=8 --gpu-bind=closest {PROBE}")
    for rank in ranks:
        assert {node_of(minor) for minor in rank.gpus} == {node_of(rank.gpus[0])}
        assert_on_node(rank, node_of(rank.gpus[0]))
    assert_disjoint(ranks)


def test_one_task_with_all_gpus_keeps_all_cpus_of_both_nodes(machine: EmulatedMachine) -> None:
    (rank,) = step(machine, f"srun --numa-align -n1 -c8 --gpus=8 {PROBE}")
    assert rank.cpus == CPUS[0] | CPUS[1]
    assert (rank.mode, rank.nodes) == ("preferred-many", (0, 1))
    assert rank.environment["NUMA_ALIGN_STATE"] == "aligned"
    parts = [part.split("=") for part in rank.environment["NUMA_ALIGN_MAP"].split(";")]
    assert [value for _, value in parts] == [f"{n}@{n // 4}" for n in range(8)]


@pytest.mark.parametrize("tasks", [4, 8])
def test_tasks_without_gpus_are_spread_evenly_each_within_a_node(
    machine: EmulatedMachine, tasks: int
) -> None:
    ranks = step(machine, f"srun --numa-align -n{tasks} -c{8 // tasks} {PROBE}")
    homes = [node for rank in ranks for node in CPUS if rank.cpus <= CPUS[node]]
    assert Counter(homes) == {0: tasks // 2, 1: tasks // 2}
    for rank, home in zip(ranks, homes):
        assert_on_node(rank, home)
    assert_disjoint(ranks)


def test_a_step_inside_an_sbatch_script_inherits_the_option(machine: EmulatedMachine) -> None:
    script = f"#!/bin/bash\n#SBATCH --numa-align -n8 --gpus=8 -o /tmp/batch.out\nsrun {PROBE}\n"
    machine.put({"/tmp/batch.sh": script})
    machine.run("sbatch --wait /tmp/batch.sh", user="user", cwd="/tmp", timeout=300, check=True)
    ranks = ranks_of(machine.run("cat /tmp/batch.out", check=True))
    assert len(ranks) == 8
    for rank in ranks:
        assert_on_node(rank, node_of(rank.local))


def test_a_step_inside_salloc_inherits_the_option(machine: EmulatedMachine) -> None:
    ranks = step(machine, f"salloc --quiet --numa-align -n8 --gpus=8 srun {PROBE}")
    assert len(ranks) == 8
    for rank in ranks:
        assert_on_node(rank, node_of(rank.local))


def test_without_the_option_a_task_is_as_without_the_plugin(machine: EmulatedMachine) -> None:
    command = f"srun -n8 --gpus=8 {PROBE}"
    conf = "/etc/slurm/plugstack.conf.d/numa-align.conf"
    present = step(machine, command)
    machine.run(f"mv {conf} {conf}.away", check=True)
    try:
        absent = step(machine, command)
    finally:
        machine.run(f"mv {conf}.away {conf}", check=True)
    assert [(r.cpus, r.mode, r.nodes) for r in present] == [(r.cpus, r.mode, r.nodes) for r in absent]
    assert not any(rank.environment for rank in present)
    assert sum(rank.cpus <= CPUS[node_of(rank.local)] for rank in present) == 4, "stock Slurm aligns 4 of 8"


def test_without_the_option_the_table_is_not_read(machine: EmulatedMachine) -> None:
    """With strictatime every read is visible; the step that asks for alignment proves that."""
    machine.run("mount -o remount,strictatime /run", check=True)
    stat = "stat -c %X%x /run/numa-align/$SLURM_JOB_ID"
    script = f"{stat}; srun true; {stat}; srun --numa-align true; {stat}"
    result = machine.run(
        ["salloc", "--quiet", "-n1", "--gpus=1", "bash", "-c", script], user="user", timeout=300, check=True
    )
    before, unasked, asked = result.stdout.splitlines()
    assert before == unasked
    assert asked != unasked


@pytest.mark.parametrize("command", ["srun -n1 true", "sbatch --wrap=true", "salloc -n1 true"])
def test_an_unknown_word_stops_the_command_before_it_is_submitted(
    machine: EmulatedMachine, command: str
) -> None:
    program, _, rest = command.partition(" ")
    jobs = "squeue --noheader --states=all --format=%i | sort -n | tail -n1"
    before = machine.run(jobs, check=True).stdout
    result = machine.run(f"{program} --numa-align=nonsense {rest}", user="user", cwd="/tmp")
    assert result.status != 0
    assert '"nonsense"' in result.stderr
    for word in ("strict", "mem=preferred|bind|interleave|local|none", "cpus=slice|fair|node|all"):
        assert word in result.stderr
    assert machine.run(jobs, check=True).stdout == before


def test_a_prolog_that_finds_nothing_neither_fails_nor_drains(machine: EmulatedMachine) -> None:
    """No driver files and no sysfs, for the prolog alone: Slurm itself does not start a step without them."""
    prolog = "/usr/sbin/numa-align-prolog"
    hide = "mount -t tmpfs none /proc/driver && mount -t tmpfs none /sys"
    blind = f"#!/bin/sh\nexec unshare --mount sh -c '{hide} && exec {prolog}.real'\n"
    machine.run(f"mv {prolog} {prolog}.real", check=True)
    try:
        machine.put({prolog: blind}, mode=0o755)
        result = machine.run(f"srun --numa-align -n2 --gpus=2 {PROBE}", user="user", timeout=120, check=True)
    finally:
        machine.run(f"mv {prolog}.real {prolog}", check=True)
    machine.settle()
    assert [rank.environment["NUMA_ALIGN_STATE"] for rank in ranks_of(result)] == ["unaligned"] * 2
    assert len(warnings_of(result)) == 1
    assert machine.run("sinfo --noheader --format=%T", check=True).stdout.strip() == "idle"


def test_the_epilog_leaves_no_table(machine: EmulatedMachine) -> None:
    step(machine, f"srun --numa-align -n1 --gpus=1 {PROBE}")
    machine.settle()
    assert machine.run("ls -A /run/numa-align", check=True).stdout == ""


def test_a_task_with_gpus_on_two_nodes_hears_how_to_place_workers(
    machine: EmulatedMachine,
) -> None:
    def told(options: str, command: str = "true") -> int:
        step = f"srun --numa-align {options} {command}"
        return machine.run(step, user="user", timeout=120, check=True).stderr.count(ADVICE)

    assert told("-n1 -c8 --gpus=8") == 1
    assert told("-n1 -c8 --gpus=8", "env numa-align run true") == 0
    assert told("-n2 -c4 --gpus=8") == 0
    assert told("-n1 --gpus=1") == 0


# Last, since its job holds the node until the end of this module, and nothing can settle before.
@pytest.fixture(scope="module")
def job(machine: EmulatedMachine) -> Iterator[str]:
    """A job whose table can be spoiled between its steps."""
    with allocated(machine, "-n2 --gpus=2") as number:
        yield number


DAMAGE = {
    "missing": ("rm {table}", "No such file"),
    "empty": (": > {table}", "it is empty"),
    "truncated": ("head -c 300 {saved} > {table}", "line"),
    "cut at a line": ("head -n 12 {saved} > {table}", "cut off"),
    "of another version": ("sed '1s/ 1$/ 99/' {saved} > {table}", "another version"),
    "of another job": ("sed 's/^job .*/job 1/' {saved} > {table}", "the table of job 1"),
    "of another boot": ("sed 's/^boot .*/boot x/' {saved} > {table}", "last boot"),
    "of a user": ("chown user {table}", "does not belong to root"),
    "a symbolic link": ("ln -sf {saved} {table}", "symbolic link"),
    "10 MiB of noise": ("head -c 10485760 /dev/urandom > {table}", "too large to be a table"),
    "noise": ("head -c 65536 /dev/urandom > {table}", "not a binding table"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_bad_table_gives_one_warning_and_strict_fails(
    machine: EmulatedMachine, job: str, kind: str
) -> None:
    table, saved = f"/run/numa-align/{job}", "/run/saved-table"
    damage, reason = DAMAGE[kind]
    machine.run(f"cp -p {table} {saved}", check=True)
    try:
        machine.run(damage.format(table=table, saved=saved), check=True)
        srun = f"srun --jobid={job} --overlap -n2"
        result = machine.run(f"{srun} --numa-align {PROBE}", user="user", timeout=120, check=True)
        strict = machine.run(f"{srun} --numa-align=strict {PROBE}", user="user", timeout=120)
    finally:
        machine.run(f"rm -f {table}; cp -p {saved} {table}; chown root {table}", check=True)
    assert [rank.environment["NUMA_ALIGN_STATE"] for rank in ranks_of(result)] == ["unaligned"] * 2
    assert all(rank.mode == "default" for rank in ranks_of(result))
    (warning,) = warnings_of(result)
    assert reason in warning and table in warning and "as Slurm placed them" in warning
    assert strict.status != 0
    assert not ranks_of(strict), "strict fails before the program starts"
    assert reason in strict.stderr
