"""The option on real Slurm: every word, the order of its sources, and what the user binds explicitly."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.steps import PROBE, allocated, ranks_of

from native import Native

from .asking import ask, last_job, said_by_plugin, site

pytestmark = pytest.mark.native

OLD_KERNEL = Path(__file__).parents[1] / "without_preferred_many.py"

DEFAULT = ("default", ())


@pytest.fixture(scope="module")
def job(native: Native) -> Iterator[str]:
    with allocated(native, "-n1 --gpus=4") as number:
        yield number


@pytest.mark.parametrize(
    ("words", "policy"),
    [
        ("", ("preferred-many", (0,))),
        ("=on", ("preferred-many", (0,))),
        ("=off", DEFAULT),
        ("=strict", ("preferred-many", (0,))),
        ("=mem=preferred", ("preferred-many", (0,))),
        ("=mem=bind", ("bind", (0,))),
        ("=mem=interleave", ("interleave", (0,))),
        ("=mem=local", ("local", ())),
        ("=mem=none", DEFAULT),
        ("=cpus=slice,smt=off,mem=bind", ("bind", (0,))),
        ("=cpus=node", ("preferred-many", (0,))),
        ("=cpus=all,smt=on", ("preferred-many", (0,))),
    ],
)
def test_every_word_does_what_it_says(
    native: Native, job: str, words: str, policy: tuple[str, tuple[int, ...]]
) -> None:
    rank = ask(native, job, f"--gpus=1 --numa-align{words}")
    assert (rank.mode, rank.nodes) == policy
    assert rank.environment.get("NUMA_ALIGN_STATE") == (None if words == "=off" else "aligned")


@pytest.mark.parametrize(
    ("sources", "mode"),
    [
        (("mem=bind", None, ""), None),
        (("mem=bind", None, "--numa-align"), "bind"),
        (("on mem=bind", None, ""), "bind"),
        (("on mem=bind", None, "--numa-align=off"), None),
        (("on mem=bind", "off", ""), None),
        (("on mem=bind", "off", "--numa-align"), "bind"),
        (("on mem=bind", "mem=interleave", ""), "interleave"),
        (("on mem=bind", "mem=interleave", "--numa-align=mem=local"), "local"),
        (("on mem=bind", "mem=interleave", "--numa-align=cpus=node"), "interleave"),
        (("off", "on,mem=local", ""), "local"),
        (("", "mem=bind", "--numa-align"), "bind"),
        (("", "mem=bind", ""), None),
        (("nonsense", None, "--numa-align"), "preferred-many"),
        (("on mem=bind", "nonsense", ""), "bind"),
    ],
)
def test_the_command_line_comes_before_the_environment_and_the_site(
    native: Native, job: str, sources: tuple[str, str | None, str], mode: str | None
) -> None:
    words, environment, option = sources
    env = {} if environment is None else {"NUMA_ALIGN": environment}
    with site(native, words):
        rank = ask(native, job, f"--gpus=1 {option}", env)
    assert rank.mode == (mode or "default")
    assert ("NUMA_ALIGN_STATE" in rank.environment) == (mode is not None)


def test_a_step_of_a_job_overrides_what_the_job_was_given(native: Native) -> None:
    script = "; ".join(f"srun -n1 {word} {PROBE}" for word in ("", "--numa-align", "--numa-align=off"))
    result = native.run(
        ["salloc", "--quiet", "-n1", "--gpus=1", "--numa-align=mem=bind", "bash", "-c", script],
        user="user",
        check=True,
    )
    modes = [json.loads(line)["mode"] for line in result.stdout.splitlines()]
    assert modes == ["bind", "preferred-many", "default"]


def test_a_step_with_off_drops_the_variables_of_the_aligned_script(
    native: Native,
) -> None:
    script = (
        f"#!/bin/bash\n#SBATCH --numa-align -n1 --gpus=1 -o /tmp/off.out\nsrun --numa-align=off {PROBE}\n"
    )
    native.put({"/tmp/off.sh": script}, mode=0o755)
    native.run("sbatch --wait /tmp/off.sh", user="user", check=True)
    (rank,) = ranks_of(native.run("cat /tmp/off.out", check=True))
    assert rank.environment == {} and rank.mode == "default"


def test_explicit_bindings_win_and_the_report_says_so(native: Native, job: str) -> None:
    command = f"srun --jobid={job} --overlap -n1 --gpus=1 --numa-align=verbose"
    explicit = "--cpu-bind=map_cpu:0 --mem-bind=map_mem:0"
    result = native.run(f"{command} {explicit} {PROBE}", user="user", check=True)
    (rank,) = ranks_of(result)
    assert rank.cpus == {0} and (rank.mode, rank.nodes) == ("bind", (0,))
    assert "cpus=0 (--cpu-bind)" in said_by_plugin(result)
    assert "policy=bind (--mem-bind)" in said_by_plugin(result)


@pytest.mark.parametrize(
    "quiet", ["--cpu-bind=verbose --mem-bind=verbose", "--cpu-bind=quiet --mem-bind=quiet"]
)
def test_asking_how_it_is_bound_is_no_explicit_binding(native: Native, quiet: str) -> None:
    result = native.run(f"srun -n1 --gpus=1 --numa-align=verbose {quiet} {PROBE}", user="user", check=True)
    assert ranks_of(result)[0].mode == "preferred-many"
    assert "(--" not in said_by_plugin(result)


def test_programs_are_told_to_keep_the_binding_unless_the_user_did(native: Native, job: str) -> None:
    show = "bash -c 'echo ${TLLM_NUMA_AWARE_WORKER_AFFINITY-unset}'"

    def said(words: str, env: str = "") -> str:
        step = f"env {env} srun --jobid={job} --overlap -n1 --gpus=1 {words} {show}"
        return native.run(step, user="user", check=True).stdout.strip()

    # A task that has all CPUs of the machine has no place to lose.
    assert said("-c1 --numa-align") == ("0" if (os.cpu_count() or 1) > 1 else "unset")
    assert said("-c1 --numa-align=tell=off") == said("-c1") == "unset"
    assert said("-c1 --numa-align", "TLLM_NUMA_AWARE_WORKER_AFFINITY=1") == "1"


@pytest.mark.parametrize(
    ("words", "mode"), [("local", "bind"), ("prefer,local", "preferred-many"), ("none", "default")]
)
def test_run_keeps_what_is_asked_of_memory(native: Native, words: str, mode: str) -> None:
    step = f"srun -n1 --gpus=1 --mem-bind={words} numa-align run {PROBE}"
    (rank,) = ranks_of(native.run(step, user="user", check=True))
    assert rank.mode == mode


def test_verbose_prints_one_line_a_task(native: Native, job: str) -> None:
    command = f"srun --jobid={job} --overlap -n4 -O --gpus=4 --numa-align=verbose true"
    result = native.run(command, user="user", check=True)
    where = r"gpus=0000:[0-9a-f]{{2}}:00\.0 cpus=[0-9,-]+ mems=0"
    line = rf"numa-align: task {{}}: aligned {where} policy=preferred-many \d+ us"
    lines = sorted(said_by_plugin(result).splitlines())
    assert len(lines) == 4
    for number, said in enumerate(lines):
        assert re.fullmatch(line.format(number), said), said


@pytest.mark.parametrize("command", ["srun true", "sbatch --wrap=true", "salloc true"])
def test_help_is_printed_and_nothing_is_submitted(native: Native, command: str) -> None:
    program, work = command.split()
    before = last_job(native)
    result = native.run(f"{program} --numa-align=help -n1 {work}", user="user", check=True)
    assert result.stdout.startswith("--numa-align[=KEY[=VALUE][,...]]")
    for word in ("strict", "verbose", "mem=bind", "cpus=node", "smt=on | off"):
        assert word in result.stdout
    assert last_job(native) == before


def test_the_option_is_in_the_help_of_every_command(native: Native) -> None:
    for program in ("srun", "sbatch", "salloc"):
        assert "--numa-align" in native.run([program, "--help"], user="user", check=True).stdout


@pytest.fixture(scope="module")
def old_kernel(native: Native) -> Iterator[Native]:
    """slurmd, and what it starts, on a kernel that refuses preferred-many as those before 5.15 do."""
    if os.uname().machine != "x86_64":
        pytest.skip("the filter is for x86-64")
    slurmd = native.run("command -v slurmd", check=True).stdout.strip()
    wrapper = '#!/bin/sh\nexec python3 /opt/without_preferred_many.py /opt/real/slurmd "$@"\n'
    native.put({"/opt/without_preferred_many.py": OLD_KERNEL.read_bytes()})
    native.run(f"mkdir -p /opt/real && mv {slurmd} /opt/real/slurmd", check=True)
    try:
        native.put({slurmd: wrapper}, mode=0o755)
        native.configure(native.config)
        yield native
    finally:
        native.run(f"mv /opt/real/slurmd {slurmd}", check=True)
        native.configure(native.config)


def test_without_preferred_many_verbose_says_that_preferred_is_set(old_kernel: Native) -> None:
    result = old_kernel.run(f"srun -n1 --gpus=1 --numa-align=verbose {PROBE}", user="user", check=True)
    (rank,) = ranks_of(result)
    assert (rank.mode, rank.nodes) == ("preferred", (0,))
    assert rank.environment["NUMA_ALIGN_STATE"] == "aligned"
    said = said_by_plugin(result)
    assert "policy=preferred " in said and "this kernel has no preferred-many (Linux 5.15)" in said


def test_without_preferred_many_run_says_so_too(old_kernel: Native) -> None:
    command = f"srun -n1 --gpus=1 numa-align run --numa-align=verbose {PROBE}"
    result = old_kernel.run(command, user="user", check=True)
    assert ranks_of(result)[0].mode == "preferred"
    said = said_by_plugin(result)
    assert "policy=preferred" in said and "this kernel has no preferred-many (Linux 5.15)" in said
