"""The task prolog, for sites without the plugin: TaskProlog= of slurm.conf or ``srun --task-prolog=``.

slurmstepd runs it before the task's program, as the user and as a child of the process that becomes the
program; any process of the user may bind that parent's CPUs. slurmstepd reads what it prints:
``export NAME=value``, ``unset NAME``, ``print text`` (slurm.conf(5), TaskProlog). An exit status other than 0
ends the task, so it is always 0.

A memory policy belongs to a thread, and no other process can set it: only the plugin or ``numa-align run``
can.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence

from ..cpulist import format_cpulist
from ..errors import BindError
from ..names import CPUS, STATE
from ..placement.claim import ClaimMachine, Spec, Step, Task
from ..placement.decide import Decision, ProcessRequest, decide, line_of, warning_of
from ..placement.own import Own
from ..process.affinity import bind_cpus, read_own
from ..process.apply import spec_of
from ..slurm_env import to_number
from ..topology.model import Topology
from ..topology.read import read_here

#: Printed once per node, as it is the same for all tasks.
_MEMORY = (
    "the memory policy of another process cannot be set: use `numa-align run` before the program, or the "
    "plugin; memory comes from the node where the task first runs"
)


def main() -> None:
    """Entry point of numa-align-task-prolog."""
    try:
        # The script around this one names the task: that script is our own parent.
        task = to_number(os.environ.pop("NUMA_ALIGN_TASK", None)) or os.getppid()
        for line in speak(os.environ, task):
            print(line)
    except Exception as error:
        # Whatever fails, the task starts as Slurm placed it, and its user is told why.
        print(f"print numa-align: {_one_line(str(error))}; the task starts as Slurm placed it")
    sys.stdout.flush()


def speak(environment: Mapping[str, str], task: int) -> Iterator[str]:
    """Bind the process ``task`` and yield lines for slurmstepd.

    The first task of each node prints a line for people, and so does each task that is not aligned.
    """
    spec, warning = spec_of(None, environment)
    first = environment.get("SLURM_LOCALID", "0") == "0"
    if warning and first:
        yield f"print numa-align: {_one_line(warning)}"
    if not spec.on or (environment.get(STATE) and not _inherited(environment)):
        return  # off, or already done by the plugin
    topology = read_here(environment)
    own = read_own()
    decision = decide(topology, own, environment, ProcessRequest(spec))
    placed, state, failure = decision.placement, decision.placement.state, None
    if placed.binds_cpus:
        try:
            bind_cpus(task, placed.cpus)
        except BindError as error:
            state, failure = "unaligned", str(error)
    for name, value in decision.variables.items():
        said = state if name == STATE else value
        yield f"unset {name}" if said is None else f"export {name}={said}"
    if is_batch(environment):
        yield from later_steps(topology, decision, environment, spec, own)
    more = [text for text in (failure, warning_of(decision), *decision.doubts) if text]
    if first or more or spec.verbose or state != "aligned":
        if first and placed.sets_memory:
            more.append(_MEMORY)
        words = "; ".join(_one_line(text) for text in (line_of(decision, topology, state), *more))
        yield f"print numa-align: {_who(environment)}{words}"


def _inherited(environment: Mapping[str, str]) -> bool:
    """Whether the variables are those of a batch script that was aligned, passed on by srun."""
    return environment.get(CPUS) != format_cpulist(os.sched_getaffinity(0))


def _who(environment: Mapping[str, str]) -> str:
    rank = environment.get("SLURM_PROCID", "")
    return f"task {rank}: " if rank else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


# -- The batch script's step -----------------------------------------------------------------


def is_batch(environment: Mapping[str, str]) -> bool:
    """Whether this is the batch script: its step has none of srun's numbers (SLURM_BATCH_SCRIPT is -5)."""
    step = environment.get("SLURM_STEP_ID", environment.get("SLURM_STEPID", ""))
    return step in ("", "4294967291", "-5") and bool(environment.get("SLURM_JOB_ID"))


def later_steps(
    topology: Topology, decision: Decision, environment: Mapping[str, str], spec: Spec, own: Own
) -> Iterator[str]:
    """SLURM_CPU_BIND and SLURM_MEM_BIND, which later sruns of the script read as options.

    Their masks name CPUs of this node, so they are set only for a job on one node. A step with fewer CPUs
    than the job would be refused (srun(1), --cpu-bind), so a step that sets its own size has to repeat
    ``--cpu-bind``.
    """
    tasks = to_number(environment.get("SLURM_TASKS_PER_NODE", "").partition("(")[0])
    if environment.get("SLURM_JOB_NUM_NODES") != "1" or not tasks or not decision.placement.gpus:
        return
    if environment.get("SLURM_CPU_BIND") or environment.get("SLURM_MEM_BIND"):
        return  # the user has chosen
    masks = step_masks(topology, decision, tasks, spec, own)
    yield f"export SLURM_CPU_BIND=mask_cpu:{','.join(hex(cpus) for cpus, _ in masks)}"
    nodes = ",".join(hex(mask) for _, mask in masks)
    if spec.mem == "bind" and all(mask for _, mask in masks):
        yield f"export SLURM_MEM_BIND=mask_mem:{nodes}"
    elif spec.mem == "preferred" and all(mask and not mask & (mask - 1) for _, mask in masks):
        # Slurm's prefer takes one node per task (libnuma's numa_set_preferred).
        yield f"export SLURM_MEM_BIND=prefer,mask_mem:{nodes}"


def step_masks(
    topology: Topology, decision: Decision, tasks: int, spec: Spec, own: Own
) -> Sequence[tuple[int, int]]:
    """For each task of a step of the whole job: the bits of its CPUs and of its memory nodes."""
    machine = ClaimMachine.of(topology)
    gpus = decision.placement.gpus
    step = Step(own.cpus, own.memory_nodes or (0,), tasks, gpus, spec)
    placed = [machine.place(step, Task(number, gpus, own.cpus)) for number in range(tasks)]
    return [
        (sum(1 << cpu for cpu in place.cpus), sum(1 << node for node in place.memory_nodes))
        for place in placed
    ]
