"""audit and report: which processes are whose, what is said of them, and what samples add up to."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest
from builder import Machine, on_nodes
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from numa_align.audit.cause import cause_of
from numa_align.audit.log import append, read_logs
from numa_align.audit.metrics import MAX_JOBS, format_metrics, write_metrics
from numa_align.audit.model import (
    Sample,
    TaskSample,
    from_json,
    state_of_gpus,
    to_json,
    totals,
)
from numa_align.audit.rehearsal import gpus_rehearsed, rehearsed
from numa_align.audit.report import ADVICE, make_report
from numa_align.audit.take import take_sample
from numa_align.bench.as_json import read_local_and_remote
from numa_align.bench.as_json import to_json as bench_to_json
from numa_align.bench.gpu_copies import Copy
from numa_align.bench.host_memory import Cell
from numa_align.cli.audit import command as audit
from numa_align.cli.report import command as report_command
from numa_align.errors import AuditError, RequestError
from numa_align.names import CAUSES, STATES, Cause, State
from numa_align.process.jobs import JobProcess, jobs_with_steps, processes_of_jobs
from numa_align.view.audit import report_page, show_samples
from rich.console import Console, RenderableType

MONITORING = Path(__file__).resolve().parents[2] / "packaging/monitoring"

# -- Whose process is it ---------------------------------------------------------------------


def process(  # noqa: PLR0917 (one row of a table)
    proc: Path, pid: int, parent: int, cgroup: str = "0::/", name: str = "python3", title: str = ""
) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "stat").write_text(f"{pid} ({name}) S {parent} {pid} {pid} 0 -1\n")
    (folder / "cgroup").write_text(cgroup + "\n")
    (folder / "cmdline").write_text(title or f"{name}\0")


def found(proc: Path) -> list[tuple[int, int, str]]:
    return [(one.pid, one.job, one.step) for one in processes_of_jobs(str(proc))]


SCOPE = "0::/system.slice/slurmstepd.scope"


def test_a_cgroup_that_names_the_job_tells(tmp_path: Path) -> None:
    process(tmp_path, 10, 1, f"{SCOPE}/job_7/step_0/slurm", "slurmstepd", "slurmstepd: [7.0]")
    process(tmp_path, 11, 10, f"{SCOPE}/job_7/step_0/user/task_0")
    process(tmp_path, 12, 1, f"{SCOPE}/job_7/step_batch/user/task_0")
    process(tmp_path, 13, 1, "9:cpuset:/slurm/uid_1000/job_8/step_1/task_0\n0::/", "v1")
    process(tmp_path, 14, 1)
    assert found(tmp_path) == [(11, 7, "0"), (12, 7, "batch"), (13, 8, "1")]


def test_a_sluid_in_the_cgroup_is_the_job_of_the_slurmstepd_beside_it(tmp_path: Path) -> None:
    """Slurm 26.05 names the folder by the job's SLUID."""
    process(tmp_path, 10, 1, f"{SCOPE}/s8PXM80FC2M000/step_0/slurm", "slurmstepd", "slurmstepd: [41.0]")
    process(tmp_path, 11, 1, f"{SCOPE}/s8PXM80FC2M000/step_0/user/task_0")
    process(tmp_path, 12, 1, f"{SCOPE}/s8PXM80FC2M111/step_0/user/task_0")
    assert found(tmp_path) == [(11, 41, "0")]


def test_without_cgroups_a_job_is_what_its_slurmstepd_started(tmp_path: Path) -> None:
    process(tmp_path, 10, 1, name="slurmstepd", title="slurmstepd: [5.2]")
    process(tmp_path, 11, 10, name="bash")
    process(tmp_path, 12, 11, name="odd) S 1 (name")
    process(tmp_path, 13, 1)
    assert found(tmp_path) == [(11, 5, "2"), (12, 5, "2")]


def test_slurms_own_sleep_in_the_extern_step_is_no_process_of_the_job(tmp_path: Path) -> None:
    process(tmp_path, 10, 1, f"{SCOPE}/job_7/step_extern/slurm", "slurmstepd", "slurmstepd: [7.extern]")
    process(tmp_path, 11, 10, f"{SCOPE}/job_7/step_extern/user/task_special", "sleep")
    process(tmp_path, 12, 1, f"{SCOPE}/job_7/step_extern/user/task_special", "bash")
    assert found(tmp_path) == [(12, 7, "extern")]


def test_jobs_with_steps_are_those_with_a_slurmstepd_of_roots(tmp_path: Path) -> None:
    process(tmp_path, 10, 1, name="slurmstepd", title="slurmstepd: [5.2]")
    process(tmp_path, 11, 1, name="slurmstepd", title="slurmstepd: [6.extern]")
    process(tmp_path, 12, 1, name="python", title="slurmstepd: [7.0]")
    assert jobs_with_steps(str(tmp_path)) == {5, 6}


def test_a_users_process_that_calls_itself_slurmstepd_hides_nothing(tmp_path: Path) -> None:
    process(tmp_path, 11, 1, f"{SCOPE}/job_7/step_0/user/task_0", "slurmstepd", "slurmstepd: [1.0]")
    os.chown(tmp_path / "11", 12345, 12345)
    assert processes_of_jobs(str(tmp_path)) == (JobProcess(11, 7, "0", 12345),)


def test_roots_process_with_slurmstepds_name_belongs_to_the_job(tmp_path: Path) -> None:
    process(tmp_path, 11, 1, f"{SCOPE}/job_7/step_0/user/task_0", "slurmstepdX")
    assert found(tmp_path) == [(11, 7, "0")]


def test_a_cgroup_of_a_users_own_making_is_no_job(tmp_path: Path) -> None:
    """systemd delegates user@1000.service to its user (org.freedesktop.systemd1, Delegate=)."""
    own = "/user.slice/user-1000.slice/user@1000.service/slurmstepd.scope/job_7/step_0/user"
    process(tmp_path, 11, 1, f"0::{own}")
    process(tmp_path, 12, 1, f"1:name=systemd:{own}\n9:cpuset:/slurm/uid_1000/job_8/step_1/task_0")
    assert found(tmp_path) == [(12, 8, "1")]


def test_a_loop_of_parents_ends(tmp_path: Path) -> None:
    process(tmp_path, 11, 12)
    process(tmp_path, 12, 11)
    assert found(tmp_path) == []


def test_this_machine_is_read_and_runs_no_job() -> None:
    assert take_sample(Machine(packages=2, cores=2).topology()).tasks == ()


# -- Why -------------------------------------------------------------------------------------

TOPOLOGY = Machine(packages=2, cores=4, gpus=on_nodes(0, 0, 1, 1)).topology()
ALIGNED = {"NUMA_ALIGN_STATE": "aligned", "NUMA_ALIGN_CPUS": "0-1"}


@pytest.mark.parametrize(
    ("environment", "cpus", "gpus", "cause"),
    [
        ({}, (4,), 1, "hidden"),
        ({"SLURM_JOB_ID": "1"}, (4, 5), 1, "not-asked"),
        ({"NUMA_ALIGN_DRY": "aligned cpus=0-1 mems=0"}, (4, 5), 1, "rehearsed"),
        (
            {"NUMA_ALIGN_DRY": "aligned cpus=0-1 mems=0", "SLURM_CPU_BIND_TYPE": "map_cpu:"},
            (4,),
            1,
            "explicit",
        ),
        ({"NUMA_ALIGN_DRY": "nonsense"}, (4, 5), 1, "not-asked"),
        (ALIGNED, (0, 1, 4, 5), 1, "undone"),
        ({**ALIGNED, "NUMA_ALIGN_STATE": "partial"}, (4, 5), 1, "allocated-far"),
        ({**ALIGNED, "NUMA_ALIGN_STATE": "memory-only"}, (4,), 2, "few-cores"),
        ({"NUMA_ALIGN_STATE": "partial", "SLURM_CPU_BIND_TYPE": "map_cpu:"}, (4, 5), 1, "explicit"),
    ],
)
def test_the_cause_follows_from_what_was_given_and_what_is(
    environment: dict[str, str], cpus: tuple[int, ...], gpus: int, cause: str
) -> None:
    assert cause_of(environment, cpus, TOPOLOGY.gpus[:gpus], TOPOLOGY) == cause


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("aligned cpus=0-1,4 mems=0", ("aligned", "0-1,4")),
        ("unaligned cpus=1,0 mems=", ("unaligned", "0-1")),
        ("", None),
        ("aligned", None),
        ("aligned cpus= mems=0", None),
        ("aligned cpus=x mems=0", None),
        ("splendid cpus=0 mems=0", None),
        ("aligned cpus=99999999999 mems=0", None),
    ],
)
def test_a_rehearsal_is_read_as_the_plugin_writes_it(text: str, told: Optional[tuple[str, str]]) -> None:
    assert (rehearsed({"NUMA_ALIGN_DRY": text}) or (None, None))[:2] == (told or (None, None))


def test_the_gpus_of_a_rehearsal_are_known_before_the_task_opens_them() -> None:
    text = f"aligned gpus={TOPOLOGY.gpus[1].bdf},{TOPOLOGY.gpus[3].bdf} cpus=0 mems=0"
    assert gpus_rehearsed({"NUMA_ALIGN_DRY": text}, TOPOLOGY) == (TOPOLOGY.gpus[1], TOPOLOGY.gpus[3])
    assert gpus_rehearsed({"NUMA_ALIGN_DRY": "aligned cpus=0"}, TOPOLOGY) == ()
    assert gpus_rehearsed({}, TOPOLOGY) == ()


def test_what_would_have_changed_is_counted_by_gpu() -> None:
    far = TaskSample(7, "0", 0, "alice", ("g0",), "0-3", "default", 100, 0, "unaligned", "rehearsed", None)
    base = replace(far, would="aligned", would_cpus="4-7")
    same = replace(base, task=1, gpus=("g1",), state="aligned", cause=None, would_cpus="0-3")
    moved = replace(same, task=2, gpus=("g2", "g3"), would_cpus="2-3")
    sample = Sample("n1", 0.0, 8, (base, same, moved, replace(base, task=3, would=None, gpus=("g4",))))
    total = totals([sample, replace(sample, node="n2")])
    assert (total.rehearsed, total.would_change, total.would_align) == (8, 6, 2)
    assert from_json(json.loads(json.dumps(to_json(sample))), "it") == sample
    assert 'numa_align_rehearsed_gpus{change="yes"} 3\n' in format_metrics(sample)
    assert "rehearsed" not in format_metrics(replace(sample, tasks=()))
    words = shown_as_text(show_samples([sample], tasks=True))
    assert "would be aligned on CPUs 4-7" in words
    assert "rehearsed for 4 of them: 3 would be placed otherwise, 1 more would be aligned" in words


def test_tasks_that_look_alike_on_several_nodes_share_a_row() -> None:
    task = TaskSample(7, "0", 0, "alice", ("g0",), "0-3", "default", 100, 100, "aligned", None, None)
    far = replace(task, state="unaligned", cause="not-asked")
    samples = [Sample(f"n{number:02}", 0.0, 1, (replace(task, task=number),)) for number in range(1, 65)]
    samples[9] = replace(samples[9], tasks=(replace(far, task=9),))
    lines = shown_as_text(show_samples(samples, tasks=True)).splitlines()
    shown = [line.split()[:5] for line in lines if "alice" in line]
    assert shown == [["n[01-09,11-64]", "7", "0", "63", "tasks"], ["n10", "7", "0", "9", "alice"]]


def shown_as_text(what: RenderableType) -> str:
    console = Console(width=250, file=io.StringIO())
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_cause_has_advice() -> None:
    assert set(ADVICE) == set(CAUSES)


# -- Sums ------------------------------------------------------------------------------------


def task(job: int, state: State, *gpus: str, cause: Optional[Cause] = None, user: str = "ann") -> TaskSample:
    because = None if state == "aligned" else cause or "not-asked"
    near = 100 if state == "aligned" else 25
    return TaskSample(job, "0", 0, user, gpus, "0-3", "default", 100, near, state, because, None)


def sample(*tasks: TaskSample, node: str = "gpu01", at: float = 1000.0) -> Sample:
    return Sample(node, at, 8, tasks, idle_near_cores=3)


def test_a_gpu_that_tasks_share_is_counted_once_as_the_best_of_them() -> None:
    both = (task(1, "unaligned", "a", "b"), task(1, "aligned", "a"))
    assert state_of_gpus(both) == {"a": "aligned", "b": "unaligned"}
    assert totals([sample(*both)]).by_state == {
        "aligned": 1, "partial": 0, "memory-only": 0, "unaligned": 1,
    }  # fmt: skip


tasks = st.builds(
    task,
    st.integers(1, 9),
    st.sampled_from(STATES),
    st.text("abcd", max_size=1),
    user=st.text(max_size=5),
)


@given(st.lists(tasks, max_size=5))
def test_json_gives_back_the_sample(given_tasks: list[TaskSample]) -> None:
    taken = sample(*given_tasks)
    assert from_json(json.loads(json.dumps(to_json(taken))), "here") == taken


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"version": 2},
        {"version": 1},
        {**to_json(sample()), "time": "x"},
        json.loads(json.dumps(to_json(sample(task(1, "partial")))).replace('"not-asked"', '"because"')),
    ],
)
def test_what_is_no_sample_is_one_line(data: object) -> None:
    with pytest.raises(AuditError, match=r"^here: "):
        from_json(data, "here")


# -- Metrics ---------------------------------------------------------------------------------

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def value(text: str, name: str) -> float:
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return float(line.rpartition(" ")[2])


@needs_promtool
def test_promtool_takes_the_metrics_whatever_users_are_called() -> None:
    text = format_metrics(sample(task(1, "partial", "a", user='o"dd\\ \n name'), task(2, "aligned", "b")))
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_promtool
@pytest.mark.parametrize("words", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_promtool_takes_the_alerts_and_sees_them_fire(words: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *words], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_and_dashboard_ask_for_metrics_that_there_are() -> None:
    text = format_metrics(sample(task(1, "partial", "a")))
    there = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    asked = (MONITORING / "alerts.yml").read_text() + (MONITORING / "grafana.json").read_text()
    assert set(re.findall(r"numa_align_\w+", asked)) <= there


def test_the_metrics_are_those_of_the_totals() -> None:
    taken = sample(task(1, "partial", "a"), task(2, "aligned", "b", "c"))
    text = format_metrics(taken)
    assert value(text, 'numa_align_gpus{state="aligned"}') == totals([taken]).by_state["aligned"] == 2
    assert value(text, 'numa_align_memory_bytes{place="near"}') == 125
    assert value(text, 'numa_align_memory_bytes{place="far"}') == 75
    assert value(text, 'numa_align_job_gpus{job="2",user="ann",state="aligned"}') == 2


def test_counters_go_on_over_files_and_leave_out_gaps() -> None:
    one = task(1, "unaligned", "a", "b")
    name = 'numa_align_gpu_seconds_total{state="unaligned"}'
    first = format_metrics(sample(one, at=1000))
    second = format_metrics(sample(one, at=1060), first)
    after_a_night = format_metrics(sample(one, at=50000), second)
    clock_set_back = format_metrics(sample(one, at=100), second)
    assert [value(text, name) for text in (first, second, after_a_night, clock_set_back)] == [
        0,
        120,
        120,
        120,
    ]
    assert value(format_metrics(sample(one, at=1060), "\0 not metrics\n{"), name) == 0


def test_labels_are_bounded_and_names_can_be_left_out() -> None:
    many = sample(*(task(job, "partial", f"gpu{job}") for job in range(1, 500)))
    assert format_metrics(many).count("numa_align_job_gpus{") == MAX_JOBS
    assert "ann" not in format_metrics(many, names=False)


def test_the_metrics_file_is_replaced_at_once_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "numa_align.prom"
    old = os.umask(0o077)
    try:
        write_metrics(path, sample(task(1, "partial", "a"), at=0))
        write_metrics(path, sample(task(1, "partial", "a"), at=60))
    finally:
        os.umask(old)
    assert value(path.read_text(), 'numa_align_gpu_seconds_total{state="partial"}') == 60
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    with pytest.raises(AuditError, match="cannot be written"):
        write_metrics(tmp_path / "none/x.prom", sample())


# -- Log and report --------------------------------------------------------------------------


def test_a_log_gives_back_what_was_appended_but_for_a_half_line(tmp_path: Path) -> None:
    log = tmp_path / "samples.json"
    taken = [sample(task(1, "aligned", "a"), at=at) for at in (1.0, 2.0)]
    for one in taken:
        append(log, one)
    with log.open("a") as file:
        file.write('{"version": 1, "no')
    assert list(read_logs([log])) == taken
    assert list(read_logs([tmp_path])) == taken
    with log.open("a") as file:
        file.write("\n")
    with pytest.raises(AuditError, match=r"samples\.json:3: is not JSON"):
        list(read_logs([log]))


def test_hours_are_the_time_between_samples() -> None:
    taken = [
        sample(task(1, "aligned", "a"), task(2, "unaligned", "b", "c", user="bob"), at=at)
        for at in (0, 360, 720)
    ]
    taken.append(sample(task(2, "unaligned", "b", user="bob"), at=720 + 36000))
    report = make_report(reversed(taken), 0, 1e9)
    assert report.hours == {"aligned": 0.2, "partial": 0, "memory-only": 0, "unaligned": 0.4}
    assert report.by_user["bob"]["unaligned"] == 0.4
    (worst,) = report.worst
    assert (worst.job, worst.user, worst.cause, worst.advice) == (
        2,
        "bob",
        "not-asked",
        "#SBATCH --numa-align",
    )


def test_the_page_holds_no_names_as_markup_and_loads_nothing() -> None:
    taken = [sample(task(1, "partial", "a", user="<script>x</script>"), at=at) for at in (0, 60)]
    page = report_page(make_report(taken, 0, 100))
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "http" not in page and "src=" not in page and "@import" not in page


# -- Commands --------------------------------------------------------------------------------


def run_audit(*words: str) -> Result:
    return CliRunner().invoke(audit, [str(word) for word in words], catch_exceptions=False)


def test_samples_of_many_nodes_are_merged_the_newest_of_each(tmp_path: Path) -> None:
    times: dict[float, State] = {1.0: "unaligned", 2.0: "aligned"}
    for node in ("gpu01", "gpu02"):
        for at, state in times.items():
            append(tmp_path / f"{node}.json", sample(task(1, state, "a"), node=node, at=at))
    shown = run_audit("--from", str(tmp_path)).output
    assert "2 of 16 GPUs in use on 2 nodes: 2 aligned" in shown
    assert "6 cores near GPUs in use belong to no job" in shown
    lines = run_audit("--from", str(tmp_path), "--json", "--no-names").output.splitlines()
    assert [json.loads(line)["tasks"][0]["user"] for line in lines] == ["", ""]


def test_a_name_from_outside_is_no_markup(tmp_path: Path) -> None:
    append(tmp_path / "x.json", sample(task(1, "partial", "a", user="[/x] [bold]")))
    assert "[/x] [bold]" in run_audit("--from", str(tmp_path / "x.json")).output


def test_the_report_counts_the_last_days(tmp_path: Path) -> None:
    log, now = tmp_path / "log.json", time.time()
    for ago in (9 * 86400, 9 * 86400 - 60, 7200, 7140):
        append(log, sample(task(1, "partial", "a"), at=now - ago))
    result = CliRunner().invoke(report_command, [str(log), "--json"], catch_exceptions=False)
    assert json.loads(result.output)["hours"]["partial"] == pytest.approx(60 / 3600)
    shown = CliRunner().invoke(report_command, [str(log)], catch_exceptions=False).output
    assert "#SBATCH --numa-align" in shown
    page = tmp_path / "page.html"
    CliRunner().invoke(report_command, [str(log), "--html", str(page)], catch_exceptions=False)
    assert page.read_text().startswith("<!doctype html>")


def bench_json(copies: Sequence[tuple[int, str, float]], memory: Sequence[tuple[int, int, float]]) -> str:
    """What `numa-align bench --json` prints, as far as an estimate reads it."""
    cells = [Cell(cpu, node, rate, None) for cpu, node, rate in memory]
    measured = [Copy(node, gpu, rate, 50.0, 9.0, 9.0, 5.0, 9.0) for node, gpu, rate in copies]
    return json.dumps(bench_to_json(cells, measured, [], None, None))


@pytest.mark.parametrize(
    ("copies", "memory", "most"),
    [
        ([(0, "a", 50.0), (1, "a", 25.0)], [(0, 0, 100.0), (0, 1, 90.0)], 0.5),  # copies lose more
        ([(0, "a", 50.0), (1, "a", 49.0)], [(0, 0, 100.0), (0, 1, 40.0)], 0.6),  # memory does
        ([], [(0, 0, 100.0), (0, 1, 120.0)], 0.0),  # far is no slower
    ],
)
def test_loss_is_estimated_from_the_sites_figures(
    tmp_path: Path, copies: Any, memory: Any, most: float
) -> None:
    log, now, figures = tmp_path / "log.json", time.time(), tmp_path / "bench.json"
    for ago in (7200, 7140):
        append(log, sample(task(1, "partial", "a"), at=now - ago))
    figures.write_text(bench_json(copies, memory))
    words = [str(log), "--bench", str(figures)]
    result = CliRunner().invoke(report_command, [*words, "--json"], catch_exceptions=False)
    estimate = json.loads(result.output)["estimate"]
    assert estimate["misplaced_hours"] == pytest.approx(60 / 3600)
    assert estimate["lost_hours_at_most"] == pytest.approx(most * 60 / 3600)
    assert "GPU hours were lost" in CliRunner().invoke(report_command, words, catch_exceptions=False).output


def test_without_figures_nothing_is_estimated(tmp_path: Path) -> None:
    append(tmp_path / "log.json", sample(task(1, "partial", "a"), at=time.time()))
    result = CliRunner().invoke(report_command, [str(tmp_path / "log.json"), "--json"])
    assert json.loads(result.output)["estimate"] is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"memory": 3, "gpus": []}', bench_json([], [(0, 0, 9.0)])])
def test_figures_that_tell_no_difference_are_one_line(text: str) -> None:
    with pytest.raises(RequestError, match=r"bench --json prints|one NUMA node"):
        read_local_and_remote(text)


def test_what_does_not_go_together_is_said(tmp_path: Path) -> None:
    assert run_audit("--all", "--metrics", str(tmp_path / "x")).exit_code == 2


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [500, 1280])
def test_the_page_needs_no_sideways_scrolling(tmp_path: Path, width: int) -> None:
    """Headless chromium, whose windows have 500 pixels at least, lays it out; the script is the test's."""
    user = "a-user-with-a-very-long-name@institute.example.org"
    task = TaskSample(
        123456789, "0", 0, user, ("g0", "g1"), "0-3", "default", 10, 1, "unaligned", "undone", None
    )
    task = replace(task, partition="a-partition-with-a-long-name")
    samples = [Sample("n1", 60.0 * minute, 8, (task,)) for minute in range(600)]
    page = report_page(make_report(samples, 0.0, 36000.0))
    assert "<script" not in page and "http" not in page
    measure = (
        "<script>document.title = document.documentElement.scrollWidth + ' ' + innerWidth</script></body>"
    )
    (tmp_path / "page.html").write_text(page.replace("</body>", measure))
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         f"--window-size={width},900", "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    title = re.search(r"<title>(\d+) (\d+)</title>", done.stdout)
    assert title is not None
    assert int(title[1]) <= int(title[2]) == width
