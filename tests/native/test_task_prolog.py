"""The task prolog on real Slurm: as an option of a user's, and in a batch script."""

from __future__ import annotations

from dataclasses import replace

import pytest
from e2e.machines import configured

from native import Native

pytestmark = pytest.mark.native

PROLOG = "/usr/bin/numa-align-task-prolog"
ASK = "bash -c 'echo $SLURM_PROCID $NUMA_ALIGN_STATE $(taskset -cp $$)'"


def test_a_users_srun_binds_its_tasks_apart_and_prints_the_states(native: Native) -> None:
    result = native.run(f"srun -n2 --task-prolog={PROLOG} {ASK}", user="user", check=True)
    lines = result.stdout.splitlines()
    (line,) = [line for line in lines if "numa-align: task" in line]
    assert "task 0: aligned" in line and "memory policy of another process cannot be set" in line
    answers = [line.split() for line in lines if "affinity list" in line]
    assert len({words[-1] for words in answers}) == 2, "each task has CPUs of its own"
    assert [words[1] for words in answers] == ["aligned"] * 2


def test_a_batch_script_hands_the_binding_to_its_sruns(native: Native) -> None:
    script = f"#!/bin/bash\necho CPU=$SLURM_CPU_BIND\necho MEM=$SLURM_MEM_BIND\nsrun {ASK}\n"
    native.put({"/tmp/batch.sh": script.encode()})
    submit = "sbatch -n2 --gpus=2 --wait -o /tmp/batch.out /tmp/batch.sh"
    with configured(native, replace(native.config, slurm_extra=(f"TaskProlog={PROLOG}",))):
        native.run(submit, user="user", cwd="/tmp", check=True)
    out = native.run("cat /tmp/batch.out", check=True).stdout
    assert "CPU=mask_cpu:0x" in out and "MEM=prefer,mask_mem:0x1,0x1" in out, out
    answers = [line.split() for line in out.splitlines() if "affinity list" in line]
    assert len({words[-1] for words in answers}) == 2, out
