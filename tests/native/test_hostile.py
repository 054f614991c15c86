"""Hostile users: no crash, nothing outside the step and the run directory, and a readable message."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e.steps import PROBE, allocated, ranks_of

from native import Native

from .asking import last_job, said_by_plugin

pytestmark = pytest.mark.native

RUN = "/run/numa-align"
#: How the option reaches slurmstepd; setting it by hand bypasses srun's own check.
SMUGGLED = "_SLURM_SPANK_OPTION_numa_align_numa_align"
#: How sbatch and salloc hand the option to every srun below them.
INHERITED = "SLURM_SPANK__SLURM_SPANK_OPTION_numa_align_numa_align"

NASTY = {
    "64 KiB": "A" * 65536,
    "64 KiB of commas": "," * 65536,
    "many good words": ",".join(["mem=bind"] * 8192),
    "a newline": "on\nnuma-align: task 0: aligned",
    "format directives": "%s%n%p%1000000d",
    "shell text": "$(touch /tmp/pwned);`touch /tmp/pwned`|touch /tmp/pwned",
    "terminal codes": "\x1b[2J\x1b]0;title\x07",
    "not UTF-8": "\udcff\udcfe",
    "half a word": "mem=",
    "only signs": "=,=,=",
    "a path": "../../../etc/shadow",
    "a number": "-1",
}


@pytest.fixture(scope="module")
def job(native: Native) -> Iterator[str]:
    with allocated(native, "-n1 --gpus=2") as number:
        yield number


@pytest.fixture(autouse=True)
def nothing_was_hurt(native: Native) -> Iterator[None]:
    daemons = native.run("pgrep -x 'slurmd|slurmctld'", check=True).stdout
    yield
    assert native.run("pgrep -x 'slurmd|slurmctld'", check=True).stdout == daemons
    assert native.run("ls /tmp/pwned").status != 0
    crashes = "grep -iE 'segfault|killed by signal|signal 11|stack smash' /var/log/slurm/*.log"
    assert native.run(crashes).stdout == ""


PRINTABLE = frozenset(map(chr, range(32, 127))) | {"\n"}


def assert_short_and_clean(said: str) -> None:
    """A warning names the bad word, but neither floods a terminal nor writes to it what a user chose."""
    assert len(said) < 1000 and set(said) <= PRINTABLE


@pytest.mark.parametrize("kind", NASTY)
def test_nonsense_on_the_command_line_stops_srun_with_a_short_message(native: Native, kind: str) -> None:
    before = last_job(native)
    result = native.run(["srun", f"--numa-align={NASTY[kind]}", "-n1", "true"], user="user")
    assert result.status != 0 and last_job(native) == before
    ours = result.stderr.partition("\nsrun: error: Invalid")[0]  # srun then repeats the argument
    assert ours.startswith("srun: error: numa-align: ") and "cpus=slice|fair|node|all" in ours
    assert_short_and_clean(ours)


@pytest.mark.parametrize("kind", NASTY)
def test_nonsense_in_the_environment_costs_a_warning_only(native: Native, job: str, kind: str) -> None:
    """srun is asked plainly; the nonsense reaches slurmstepd on its own, in two ways."""
    command = f"srun --jobid={job} --overlap --numa-align -n1 --gpus=1 {PROBE}"
    env = {"NUMA_ALIGN": NASTY[kind], SMUGGLED: NASTY[kind]}
    result = native.run(command, user="user", env=env, check=True)
    (rank,) = ranks_of(result)
    assert rank.environment["NUMA_ALIGN_STATE"] == "aligned" and rank.cpus <= {0, 1}
    assert "NUMA_ALIGN" in said_by_plugin(result) and "ignored" in said_by_plugin(result)
    assert_short_and_clean(said_by_plugin(result))


@pytest.mark.parametrize("kind", NASTY)
def test_inherited_nonsense_stops_srun_or_is_a_plain_request(native: Native, job: str, kind: str) -> None:
    command = f"srun --jobid={job} --overlap -n1 --gpus=1 {PROBE}"
    result = native.run(command, user="user", env={INHERITED: NASTY[kind]})
    assert result.status != 0 or ranks_of(result)[0].environment["NUMA_ALIGN_STATE"] == "aligned"
    assert "numa-align" in said_by_plugin(result)


VARIABLES = (
    "SLURM_LOCALID", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
    "SLURM_CPU_BIND_LIST", "SLURM_STEP_ID", "NUMA_ALIGN_STATE", "NUMA_ALIGN_CPUS", "NUMA_ALIGN_MEMS",
    "NUMA_ALIGN_GPUS", "NUMA_ALIGN_MAP",
)  # fmt: skip


@pytest.mark.parametrize("value", ["999999999999", "-1", "%n%n%n", "0," * 8000, "../../etc", ""])
def test_variables_set_to_nonsense_bring_no_cpu_outside_the_step(
    native: Native, job: str, value: str
) -> None:
    command = f"srun -n1 --jobid={job} --overlap --numa-align --gpus=1 {PROBE}"
    result = native.run(command, user="user", env=dict.fromkeys(VARIABLES, value), check=True)
    (rank,) = ranks_of(result)
    assert rank.cpus <= {0, 1}
    assert rank.environment["NUMA_ALIGN_STATE"] == "aligned" and rank.environment["NUMA_ALIGN_MEMS"] == "0"
    assert "NUMA_ALIGN_MAP" not in rank.environment, "a task with one GPU has none"


def test_a_user_cannot_put_a_table_in_place(native: Native, job: str) -> None:
    for command in (
        f"cp /etc/passwd {RUN}/1",
        f"ln -s /etc/passwd {RUN}/1",
        f"rm {RUN}/{job}",
        f"mv {RUN} /tmp",
    ):
        assert native.run(command.format(run=RUN, job=job), user="user").status != 0


@pytest.mark.parametrize(
    "setup",
    [
        "ln -s /tmp/mine {run}",
        "install -d -o user -g user {run}; cp /tmp/mine/* {run}/",
        "install -d -m 777 {run}; cp /tmp/mine/* {run}/",
        "install -d {run}; mkfifo {run}/{job}",
        "install -d {run}; ln -s /tmp/mine/{job} {run}/{job}",
        "install -d {run}; ln -s /dev/zero {run}/{job}",
        "install -d {run}; mknod {run}/{job} c 1 5",
        "install -d {run}; mkdir {run}/{job}",
        "touch {run}",
    ],
)
def test_a_run_directory_that_is_not_roots_alone_is_not_read(native: Native, job: str, setup: str) -> None:
    native.run(f"install -d -o user /tmp/mine; cp {RUN}/{job} /tmp/mine/; mv {RUN} /run/kept", check=True)
    try:
        native.run(setup.format(run=RUN, job=job), check=True)
        command = f"srun --jobid={job} --overlap --numa-align -n1 --gpus=1 {PROBE}"
        result = native.run(command, user="user", check=True, timeout=20)
    finally:
        native.run(f"rm -rf {RUN}; mv /run/kept {RUN}; rm -rf /tmp/mine", check=True)
    (rank,) = ranks_of(result)
    assert rank.environment["NUMA_ALIGN_STATE"] == "unaligned" and rank.mode == "default"
    assert len(said_by_plugin(result).splitlines()) == 1


def test_prolog_and_epilog_follow_no_link_out_of_the_run_directory(native: Native) -> None:
    """Even links of root's own: users cannot make any."""
    native.put({"/tmp/precious": "precious\n"})
    number = int(last_job(native)) + 1
    names = " ".join(f"{RUN}/{n} {RUN}/.{n}.new" for n in range(number, number + 3))
    native.run(f"for name in {names}; do ln -sf /tmp/precious $name; done", check=True)
    native.run(f"srun -n1 --gpus=1 --numa-align {PROBE}", user="user", check=True)
    gone = f"until [ $(ls {RUN} | wc -l) -le 3 ]; do sleep 0.1; done"
    native.run(gone, check=True, timeout=30)
    assert native.run("cat /tmp/precious", check=True).stdout == "precious\n"
    native.run(f"rm -f {names}", check=True)


def test_another_users_job_gives_nothing_away(native: Native, job: str) -> None:
    """The table is named by the job of Slurm's credential, whatever the environment says."""
    for command in (f"srun --jobid={job} --overlap --numa-align true", f"scancel {job}"):
        assert native.run(command, user="mallory").status != 0
    command = f"env SLURM_JOB_ID={job} SLURM_JOBID={job} srun --numa-align --overlap true"
    assert native.run(command, user="mallory").status != 0
    assert native.run(f"ls {RUN}/{job}").status == 0
