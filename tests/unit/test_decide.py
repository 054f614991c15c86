"""Where `run` puts a process: alone, as a task of a step, as a worker inside a task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import pytest
from builder import Machine, on_nodes
from numa_align.errors import RequestError
from numa_align.placement.claim import Spec
from numa_align.placement.decide import Decision, Request, decide, line_of, refuse_foreign, warning_of
from numa_align.placement.own import Own
from numa_align.topology.model import Topology

TWO = Machine(packages=2, cores=8, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1))
ALL = tuple(range(16))
NEAR = {0: set(range(8)), 1: set(range(8, 16))}


@pytest.fixture(scope="module")
def two() -> Topology:
    return TWO.topology()


def place(
    topology: Topology,
    environment: Optional[Mapping[str, str]] = None,
    *,
    cpus: tuple[int, ...] = ALL,
    widest: tuple[int, ...] = ALL,
    gpus: Optional[tuple[int, ...]] = None,
    openable: Optional[set[int]] = None,
    spec: Optional[Spec] = None,
) -> Decision:
    def may_open(device: str) -> bool:
        return openable is None or int(device[len("/dev/nvidia") :]) in openable

    own = Own(cpus, widest, (0, 1))
    return decide(topology, own, environment or {}, Request(spec or Spec(on=True), gpus), may_open)


def test_one_gpu_gets_all_of_its_node_and_its_memory(two: Topology) -> None:
    placed = place(two, gpus=(5,)).placement
    assert (set(placed.cpus), placed.policy, placed.memory_nodes) == (NEAR[1], "preferred-many", (1,))
    assert placed.state == "aligned"


def test_it_never_leaves_the_mask_that_it_was_given(two: Topology) -> None:
    assert place(two, gpus=(5,), cpus=(6, 7, 8, 9)).placement.cpus == (8, 9)
    far = place(two, gpus=(5,), cpus=(0, 1)).placement
    assert (far.cpus, far.state, far.memory_nodes) == ((0, 1), "memory-only", (1,))


def test_visible_devices_choose_where_slurm_does_not(two: Topology) -> None:
    placed = place(two, {"CUDA_VISIBLE_DEVICES": "6"}).placement
    assert (placed.gpus, placed.memory_nodes) == ((6,), (1,))


def test_all_gpus_get_both_nodes_and_a_map(two: Topology) -> None:
    decision = place(two)
    assert decision.placement.policy == "preferred-many"
    entries = (decision.variables["NUMA_ALIGN_MAP"] or "").split(";")
    assert [entry.partition("=")[2] for entry in entries] == [
        f"{2 * gpu}-{2 * gpu + 1}@{gpu // 4}" for gpu in range(8)
    ]


def task(rank: int, tasks: int, **more: str) -> dict[str, str]:
    fields = {"SLURM_LOCALID": str(rank), "SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": str(tasks)}
    return {**fields, "SLURM_GPUS_ON_NODE": "8", **more}


def test_tasks_without_the_plugin_get_the_plugins_slices(two: Topology) -> None:
    masks = ",".join(hex(1 << (rank // 2 + 8 * (rank % 2))) for rank in range(8))
    seen: set[int] = set()
    for rank in range(8):
        mask = (rank // 2 + 8 * (rank % 2),)
        placed = place(two, task(rank, 8, SLURM_CPU_BIND_LIST=masks), cpus=mask).placement
        seen.update(placed.cpus)
        assert placed.gpus == (rank,)
        # The step has 4 cores of each node, one for each of its GPUs.
        assert len(placed.cpus) == 1 and set(placed.cpus) <= NEAR[rank // 4], rank
    assert len(seen) == 8


def test_a_confined_step_reaches_to_its_cpuset(two: Topology) -> None:
    step = (0, 1, 8, 9)
    placed = place(two, task(1, 2, SLURM_GPUS_ON_NODE="2"), cpus=(0,), widest=step, openable={0, 4}).placement
    assert (placed.gpus, placed.cpus) == ((4,), (8, 9))


def test_a_task_with_a_gpu_of_its_own_stays_among_its_cpus_if_any_is_near(two: Topology) -> None:
    environment = task(3, 8)
    assert place(two, environment, cpus=(5, 12), openable={4}).placement.cpus == (12,)
    # None is near, and whose the others are cannot be known: those of the node, shared.
    placed = place(two, environment, cpus=(5,), widest=ALL[:12], openable={4}).placement
    assert placed.cpus == (8, 9, 10, 11)


def worker(rank: int, count: int, **more: str) -> dict[str, str]:
    return {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count), **more}


def test_workers_of_a_launcher_share_out_the_tasks_own_set(two: Topology) -> None:
    for rank in range(8):
        decision = place(two, worker(rank, 8))
        assert decision.placement.gpus == (rank,)
        assert decision.placement.cpus == (2 * rank, 2 * rank + 1)
        assert decision.placement.memory_nodes == (rank // 4,)


def test_of_fewer_workers_than_gpus_each_uses_the_gpu_of_its_number(two: Topology) -> None:
    """As in `torch.cuda.set_device(LOCAL_RANK)`: no core is kept for the GPUs that are nobody's."""
    found = [place(two, worker(rank, 6)).placement for rank in range(6)]
    assert [placement.gpus for placement in found] == [(rank,) for rank in range(6)]
    assert [placement.cpus for placement in found[:4]] == [(2 * rank, 2 * rank + 1) for rank in range(4)]
    assert [placement.cpus for placement in found[4:]] == [(8, 9, 10, 11), (12, 13, 14, 15)]
    aligned = {"NUMA_ALIGN_CPUS": "0-15", "NUMA_ALIGN_GPUS": ",".join(gpu.bdf for gpu in two.gpus)}
    slices = ";".join(
        f"{gpu.bdf}={2 * gpu.minor}-{2 * gpu.minor + 1}@{gpu.node}"
        for gpu in two.gpus
        if gpu.minor is not None
    )
    inside = place(two, worker(5, 6, NUMA_ALIGN_MAP=slices, **aligned)).placement
    assert (inside.gpus, inside.cpus) == ((5,), (12, 13, 14, 15))
    assert place(two, worker(0, 1)).placement.gpus == tuple(range(8)), "who is alone may use them all"


def test_a_worker_takes_what_the_map_of_its_task_says(two: Topology) -> None:
    bdfs = [gpu.bdf for gpu in two.gpus]
    slices = f"{bdfs[1]}=3@0;{bdfs[2]}=4-5@0"
    own = {"NUMA_ALIGN_GPUS": f"{bdfs[1]},{bdfs[2]}", "NUMA_ALIGN_CPUS": "3-5", "NUMA_ALIGN_MAP": slices}
    found = [place(two, worker(rank, 2, **own), cpus=(3, 4, 5), openable={1, 2}) for rank in range(2)]
    assert [decision.placement.cpus for decision in found] == [(3,), (4, 5)]
    assert [decision.placement.gpus for decision in found] == [(1,), (2,)]
    # The map of another process is not about this one.
    other = place(two, worker(0, 2, **own), cpus=(0, 1), openable={1, 2})
    assert set(other.placement.cpus) <= {0, 1}


def test_more_workers_than_gpus_divide_a_slice(two: Topology) -> None:
    mine = {rank: set(place(two, worker(rank, 16)).placement.cpus) for rank in range(16)}
    assert all(len(cpus) == 1 for cpus in mine.values())
    assert len(set().union(*mine.values())) == 16
    assert all(mine[rank] <= NEAR[rank % 8 // 4] for rank in mine)


def test_workers_that_are_shown_one_gpu_each_get_equal_slices(two: Topology) -> None:
    own = {"NUMA_ALIGN_GPUS": ",".join(gpu.bdf for gpu in two.gpus), "NUMA_ALIGN_CPUS": "0-15"}
    for rank in range(8):
        environment = worker(rank, 8, CUDA_VISIBLE_DEVICES=str(rank), **own)
        assert place(two, environment).placement.cpus == (2 * rank, 2 * rank + 1)


def test_a_placed_task_keeps_its_place(two: Topology) -> None:
    variables = {k: v for k, v in place(two, gpus=(5,)).variables.items() if v is not None}
    again = place(two, {**task(5, 8), **variables}, cpus=tuple(sorted(NEAR[1])), openable={5})
    assert set(again.placement.cpus) == NEAR[1]


def test_a_gpu_of_another_job_is_refused_in_a_line(two: Topology) -> None:
    refuse_foreign(two, (0, 5), lambda device: True)
    with pytest.raises(RequestError, match=r"/dev/nvidia5 may not be opened; it belongs to another job"):
        refuse_foreign(two, (0, 5), lambda device: device != "/dev/nvidia5")


def test_a_process_that_is_not_aligned_is_told_why_and_what_to_request(two: Topology) -> None:
    decision = place(two, gpus=(5,), cpus=(0,))
    warning = warning_of(decision)
    assert warning and warning.startswith("memory-only: ") and "; " in warning
    assert line_of(decision, two).startswith("memory-only gpus=0001") or "gpus=" in line_of(decision, two)
    assert warning_of(place(two, gpus=(5,))) is None


# -- The command ---------------------------------------------------------------------------------


def run(*arguments: str, env: Optional[Mapping[str, str]] = None) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUMA_ALIGN", "SLURM_", "LOCAL_"))}
    return subprocess.run(
        [sys.executable, "-m", "numa_align", "run", *arguments],
        env={**clean, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_json_says_on_stderr_what_was_bound_and_stdout_stays_the_commands() -> None:
    program = "import os; print(*sorted(os.sched_getaffinity(0)), os.environ['NUMA_ALIGN_CPUS'])"
    result = run("--json", sys.executable, "-c", program)
    data = json.loads(result.stderr)
    assert list(data) == [
        "version", "state", "reason", "gpus", "cpus", "policy", "policy_nodes", "worker",
    ]  # fmt: skip
    assert data["worker"] is None and result.stdout.endswith(f" {data['cpus']}\n")
    env = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert json.loads(run("--json", "true", env=env).stderr)["worker"] == {"rank": 1, "count": 2}


def test_the_status_and_output_are_the_commands_own() -> None:
    result = run("--", "sh", "-c", "echo out; exit 7")
    assert (result.returncode, result.stdout) == (7, "out\n")


def test_what_cannot_be_executed_ends_as_with_env(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no program")
    for name, status in (("no-such-command", 127), (str(tmp_path), 126), (str(tmp_path / "data"), 126)):
        result = run(name)
        assert (result.returncode, len(result.stderr.splitlines())) == (status, 1), result


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--gpus", "no-such-gpu", "true"), "there is no GPU 'no-such-gpu'"),
        (("--numa-align", "nonsense", "true"), 'unknown word "nonsense"'),
        (("--local-rank", "3", "--local-world-size", "2", "true"), "local rank 3 is not below"),
    ],
)
def test_bad_input_is_one_line_and_status_2_and_nothing_runs(arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments[:-1], "echo", "ran")
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert says in line


def test_a_command_line_without_a_command_is_wrong_usage() -> None:
    result = run()
    assert result.returncode == 2 and "no COMMAND" in result.stderr


@pytest.mark.parametrize(("option", "env"), [(("--numa-align", "off"), {}), ((), {"NUMA_ALIGN": "off"})])
def test_off_only_runs_the_command(option: tuple[str, ...], env: dict[str, str]) -> None:
    result = run(*option, "sh", "-c", "echo ${NUMA_ALIGN_STATE-unset}", env=env)
    assert result.stdout == "unset\n"


def test_workers_are_bound_apart_by_the_kernels_word() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    seen = []
    for rank in range(2):
        env = {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
        program = "import os; print(*sorted(os.sched_getaffinity(0)))"
        seen.append(set(run(sys.executable, "-c", program, env=env).stdout.split()))
    assert seen[0] and seen[1] and not seen[0] & seen[1]
