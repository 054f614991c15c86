"""--cpu-bind and --mem-bind with --numa-align, on real Slurm: what stays, what is kept at the new place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e.steps import PROBE, allocated, ranks_of

from native import Native

from .asking import ask, said_by_plugin, site

pytestmark = pytest.mark.native

NEAR = ("preferred-many", (0,))


@pytest.fixture(scope="module")
def job(native: Native) -> Iterator[str]:
    with allocated(native, "-n1 --gpus=4") as number:
        yield number


def said(native: Native, job: str, options: str, env: dict[str, str] | None = None) -> str:
    command = f"srun --jobid={job} --overlap -n1 --gpus=1 --numa-align=verbose {options} true"
    return said_by_plugin(native.run(command, user="user", env=env, check=True))


@pytest.mark.parametrize(
    ("words", "policy"),
    [
        ("local", "bind"),
        ("v,local", "bind"),
        ("quiet,local", "bind"),
        ("local,prefer", "preferred-many"),
        ("prefer,v,local", "preferred-many"),
    ],
)
@pytest.mark.parametrize("variable", [False, True])
def test_local_memory_is_asked_for_again_where_the_task_runs(
    native: Native, job: str, words: str, policy: str, variable: bool
) -> None:
    option, env = ("", {"SLURM_MEM_BIND": words}) if variable else (f"--mem-bind={words}", {})
    line = said(native, job, option, env)
    assert f"policy={policy} " in line and "(" not in line
    rank = ask(native, job, f"--gpus=1 --numa-align {option}", env)
    assert (rank.mode, rank.nodes) == (policy, (0,))


@pytest.mark.parametrize(
    ("words", "policy"),
    [("map_mem:0", "bind"), ("mask_mem:0x1", "bind"), ("rank", "bind"), ("none", "default")],
)
def test_explicit_memory_binding_is_kept_and_its_source_named(
    native: Native, job: str, words: str, policy: str
) -> None:
    if words == "rank" and native.slurm != "22.05":
        policy = ask(native, job, f"--gpus=1 --mem-bind={words}").mode
    assert f"policy={policy} (--mem-bind)" in said(native, job, f"--mem-bind={words}")
    assert f"policy={policy} (SLURM_MEM_BIND)" in said(native, job, "", {"SLURM_MEM_BIND": words})


@pytest.mark.parametrize("words", ["none", "cores", "threads", "sockets", "ldoms", "verbose,cores"])
def test_a_grain_of_the_cpus_lets_whoever_asked_be_aligned(native: Native, job: str, words: str) -> None:
    assert "(" not in said(native, job, f"--cpu-bind={words}")
    assert "(" not in said(native, job, "", {"SLURM_CPU_BIND": words})


def test_explicit_cpu_binding_is_kept_and_its_source_named(native: Native, job: str) -> None:
    assert "cpus=0 (--cpu-bind)" in said(native, job, "--cpu-bind=map_cpu:0")
    assert "cpus=0 (--cpu-bind)" in said(native, job, "--cpu-bind=verbose,mask_cpu:0x1")
    assert "cpus=0 (SLURM_CPU_BIND)" in said(native, job, "", {"SLURM_CPU_BIND": "map_cpu:0"})
    assert "cpus=0 (--cpu-bind)" in said(native, job, "--cpu-bind=map_cpu:0", {"SLURM_CPU_BIND": "cores"})


def test_the_sites_default_yields_to_every_word_of_the_user(native: Native, job: str) -> None:
    step = f"srun --jobid={job} --overlap -n1 --gpus=1"
    with site(native, "on verbose"):
        for word, env in (("--cpu-bind=cores", {}), ("", {"SLURM_CPU_BIND": "cores"})):
            result = native.run(f"{step} {word} true", user="user", env=env, check=True)
            assert ("(--cpu-bind)" if word else "(SLURM_CPU_BIND)") in said_by_plugin(result)
            result = native.run(
                f"{step} {word} true", user="user", env={**env, "NUMA_ALIGN": "on"}, check=True
            )
            assert "(" not in said_by_plugin(result)


@pytest.mark.parametrize("export", ["", "--export=NONE"])
def test_what_the_step_around_srun_exported_is_not_the_users_word(
    native: Native, job: str, export: str
) -> None:
    inner = f"srun --overlap -n1 --gpus=1 --numa-align=verbose {export} /usr/bin/{PROBE}"
    result = native.run(
        [
            "srun",
            f"--jobid={job}",
            "--overlap",
            "-n1",
            "--gpus=1",
            "--cpu-bind=map_cpu:0",
            "--mem-bind=map_mem:0",
            "bash",
            "-c",
            inner,
        ],
        user="user",
        check=True,
    )
    (rank,) = ranks_of(result)
    assert (rank.mode, rank.nodes) == NEAR
    assert "aligned" in said_by_plugin(result) and "(" not in said_by_plugin(result)


def test_inside_a_step_the_user_still_has_his_word(native: Native, job: str) -> None:
    inner = (
        "srun --overlap -n1 --gpus=1 --numa-align=verbose --cpu-bind=verbose,map_cpu:0 true;"
        "SLURM_CPU_BIND=map_cpu:0 srun --overlap -n1 --gpus=1 --numa-align=verbose true;"
        "srun --overlap -n1 --gpus=1 --numa-align=verbose --cpu-bind=verbose true"
    )
    outer = ["srun", f"--jobid={job}", "--overlap", "-n1", "--gpus=1", "bash", "-c", inner]
    result = native.run(outer, user="user", check=True)
    lines = said_by_plugin(result).splitlines()
    assert ["--cpu-bind" in line for line in lines] == [True, False, False]
    assert ["SLURM_CPU_BIND" in line for line in lines] == [False, True, False]


def test_a_task_does_not_see_how_srun_told_the_plugin(native: Native, job: str) -> None:
    show = "sh -c 'env | grep -c ^SLURM_NUMA; true'"
    command = f"srun --jobid={job} --overlap -n1 --gpus=1 --numa-align {show}"
    env = {"SLURM_CPU_BIND": "cores"}
    assert native.run(command, user="user", env=env, check=True).stdout == "0\n"


@pytest.mark.parametrize("forged", ["cpus=enclosing,mem=enclosing", "cpus=", "x" * 5000, "cpus=variable"])
def test_a_forged_word_of_srun_is_replaced_by_srun(native: Native, job: str, forged: str) -> None:
    line = said(native, job, "--cpu-bind=map_cpu:0", {"SLURM_NUMA_ALIGN_BIND": forged})
    assert "cpus=0 (--cpu-bind)" in line
