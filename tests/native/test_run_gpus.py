"""`run --gpus`: what the command is shown of the GPUs that its user named, in an allocation and outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from machine import Result

from native import Native

pytestmark = pytest.mark.native

SHOWN = "sh -c 'echo ${CUDA_VISIBLE_DEVICES-unset} ${CUDA_DEVICE_ORDER-unset} $NUMA_ALIGN_GPUS'"


def run(native: Native, words: str, *, around: str = "", visible: str | None = None) -> Result:
    env = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return native.run(f"{around} numa-align run {words} {SHOWN}".strip(), user="user", env=env)


def refused(result: Result) -> str:
    """The one line of ours; the command has not run."""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("numa-align: ")]
    assert (result.status, result.stdout) == (2, ""), result.transcript()
    return line


def test_the_command_sees_what_was_named_unless_that_is_left(native: Native) -> None:
    gpu = native.topology.gpu_table()[5]
    assert run(native, "--gpus 5").stdout.split() == [gpu.uuid, "unset", gpu.bdf]
    assert run(native, "--gpus 5 --leave-visible").stdout.split() == ["unset", "unset", gpu.bdf]


def test_a_variable_that_names_others_is_left_only_if_told(native: Native) -> None:
    gpu = native.topology.gpu_table()[5]
    said = refused(run(native, "--gpus 5", visible="0"))
    assert "CUDA_VISIBLE_DEVICES is '0'" in said and "--leave-visible" in said
    assert run(native, "--gpus 5 --leave-visible", visible="0").stdout.split() == ["0", "unset", gpu.bdf]


@pytest.fixture
def closed(native: Native) -> Iterator[Native]:
    """The GPUs but the first cannot be opened, as a device cgroup has it for those of other jobs."""
    devices = " ".join(gpu.device for gpu in native.topology.gpu_table()[1:])
    native.run(f"chmod 000 {devices}", check=True)
    yield native
    native.run(f"chmod 666 {devices}", check=True)


@pytest.mark.parametrize("words", ["--gpus 5", "--gpus 5 --leave-visible", "--gpus 0,5"])
def test_a_gpu_that_a_task_cannot_open_is_an_error(closed: Native, words: str) -> None:
    said = refused(run(closed, words, around="srun -n1 --gpus=1"))
    assert "this process may not use GPU" in said and "it belongs to another job" in said


def test_the_variable_of_a_task_stays_as_slurm_set_it(closed: Native) -> None:
    gpu = closed.topology.gpu_table()[0]
    for words in ("--gpus 0", "--gpus 0 --leave-visible", ""):
        result = run(closed, words, around="srun -n1 --gpus=1")
        assert result.stdout.split() == ["0", "unset", gpu.bdf], result.transcript()
