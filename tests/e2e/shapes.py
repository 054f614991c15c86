"""Ways of starting work on the two-node machine; their tasks must come out aligned and apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import pytest
from machine import EmulatedMachine

from .steps import PROBE, Rank, ranks_of
from .truth import assert_all_aligned, assert_nobody_shares, assert_true


@dataclass(frozen=True)
class Shape:
    """A command and the number of its tasks; `apart`: no core is used by two of them.

    `aligned`: at least this many are aligned, and the others are in the state that they report; None: all.
    """

    command: str
    tasks: int
    version: str = "22.05"  # the first that has it
    apart: bool = True
    apart_from: str = "22.05"  # the first whose tasks do not share GPUs
    aligned: Optional[int] = None


#: {ask} is the option and {probe} the program; scripts see them as $ASK and $PROBE.
SHAPES = {
    "a GPU a task": Shape("srun {ask} -n8 --gpus=8 {probe}", 8),
    "fewer tasks": Shape("srun {ask} -n2 -c4 --gpus=8 {probe}", 2),
    "uneven tasks": Shape("srun {ask} -n3 -c2 --gpus=8 --exclusive {probe}", 3, apart=False),
    # Four GPUs of one node, which has four cores: no core has two tasks while one of the other node idles.
    "more tasks": Shape("srun {ask} -n8 --gpus=4 --exclusive {probe}", 8, aligned=4),
    "gpus-per-task": Shape("srun {ask} -n8 --gpus-per-task=1 {probe}", 8),
    "ntasks-per-gpu": Shape("srun {ask} --ntasks-per-gpu=1 --gpus=8 {probe}", 8, apart_from="24.11"),
    "gpu-bind=none": Shape("srun {ask} -n8 --gpus=8 --gpu-bind=none {probe}", 8),
    "gpu-bind=single": Shape("srun {ask} -n8 --gpus=8 --gpu-bind=single:1 {probe}", 8, apart_from="24.11"),
    "gpu-bind=map": Shape("srun {ask} -n8 --gpus=8 --gpu-bind=map_gpu:7,6,5,4,3,2,1,0 {probe}", 8),
    "gpu-bind=mask": Shape("srun {ask} -n2 -c4 --gpus=8 --gpu-bind=mask_gpu:0x0f,0xf0 {probe}", 2),
    "one sees all": Shape("srun {ask} -n2 -c4 --gpus=8 --gpu-bind=mask_gpu:0xf0,0xff {probe}", 2),
    "gpu-bind=closest": Shape("srun {ask} -n8 --gpus=8 --gpu-bind=closest {probe}", 8),
    "tres-per-task": Shape("srun {ask} -n8 --tres-per-task=gres/gpu:1 {probe}", 8, version="24.11"),
    "allow-task-sharing": Shape(
        "srun {ask} -n8 --gpus-per-task=1 --gres-flags=allow-task-sharing {probe}", 8, version="24.11"
    ),
    "map and task sharing": Shape(
        "srun {ask} -n8 --gpus=8 --gpu-bind=map:7,6,5,4,3,2,1,0 --gres-flags=allow-task-sharing {probe}",
        8,
        version="24.11",
    ),
    "mem-bind=local": Shape("srun {ask} -n8 --gpus=8 --mem-bind=local {probe}", 8),
    "mem-bind=local,prefer": Shape("srun {ask} -n8 --gpus=8 --mem-bind=local,prefer {probe}", 8),
    "cpu-bind=cores": Shape("srun {ask} -n8 --gpus=8 --cpu-bind=cores {probe}", 8),
    "what guides teach": Shape(
        "srun {ask} -n8 --gpus=8 --cpu-bind=verbose,cores --mem-bind=local {probe}", 8
    ),
    "cpu-bind=none": Shape("srun {ask} -n8 --gpus=8 --exclusive --cpu-bind=none {probe}", 8),
    "cpu-bind=sockets": Shape("srun {ask} -n8 --gpus=8 --cpu-bind=sockets {probe}", 8, apart=False),
    "inside a step": Shape(
        "srun -n1 -c8 --gpus=8 bash -c 'srun {ask} --overlap -n8 -c1 --gpus=8 {probe}'", 8
    ),
    "salloc": Shape("salloc --quiet {ask} -n8 --gpus=8 srun {probe}", 8),
    "two steps at once": Shape(
        "salloc --quiet -n8 --gpus=8 bash -c 'for i in 1 2; do"
        " srun {ask} --exact -n4 --gpus=4 --mem=100 {probe} & done; wait'",
        8,
        apart=False,
    ),
    "steps one after another": Shape(
        "salloc --quiet -n8 --gpus=8 bash -c 'srun {ask} --exact -n4 --gpus=4 --mem=100 {probe};"
        " srun {ask} -n2 -c4 --gpus=8 {probe}; srun {ask} --exact -n2 --gpus=2 {probe}'",
        8,
        apart=False,
    ),
    "steps that overlap": Shape(
        "salloc --quiet -n8 --gpus=8 bash -c 'for i in 1 2; do"
        " srun {ask} --overlap -n4 -c2 --gpus=8 {probe} & done; wait'",
        8,
        apart=False,
    ),
    "without GPUs": Shape("srun {ask} -n8 --exclusive --gres=none {probe}", 8),
    "a batch script itself": Shape(
        "sbatch --quiet --wait {ask} -n1 -c8 --gpus=8 -o /tmp/cell.out --wrap '{probe}'; cat /tmp/cell.out", 1
    ),
    "a step of a script": Shape(
        "sbatch --quiet --wait {ask} -n8 --gpus=8 -o /tmp/cell.out --wrap 'srun {probe}'; cat /tmp/cell.out",
        8,
    ),
    "an array": Shape(
        "rm -f /tmp/cell.*; sbatch --quiet --wait {ask} --array=0-1 -n4 --gpus=4 -o /tmp/cell.%a"
        " --wrap 'srun {probe}'; cat /tmp/cell.*",
        8,
        apart=False,
    ),
}
SHORT = ("a GPU a task", "gpus-per-task", "gpu-bind=closest", "a step of a script", "two steps at once")


def run_shape(machine: EmulatedMachine, shape: Shape) -> list[Rank]:
    command = shape.command.format(ask="--numa-align", probe=PROBE)
    result = machine.run(command, user="user", cwd="/tmp", timeout=300, check=True)
    return ranks_of(result)


def check_shape(machine: EmulatedMachine, name: str) -> None:
    shape = SHAPES[name]
    if machine.slurm < shape.version:
        pytest.skip(f"Slurm {shape.version} and later")
    ranks = run_shape(machine, shape)
    if shape.aligned is None:
        assert_all_aligned(ranks, machine.topology, shape.tasks)
    else:
        assert len(ranks) == shape.tasks
        for rank in ranks:
            assert_true(rank, machine.topology)
        assert sum(rank.environment["NUMA_ALIGN_STATE"] == "aligned" for rank in ranks) >= shape.aligned
    if shape.apart and machine.slurm >= shape.apart_from:
        assert_nobody_shares(ranks)
