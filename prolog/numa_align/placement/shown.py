"""Which GPUs Slurm shows to the tasks of a step on one node, depending on its release. Pure.

Slurm compares the CPUs that it gave a task with those near a GPU according to gres.conf
(_get_gres_per_task, _get_single_usable_gres and _get_closest_usable_gres of its gres.c). A GPU without
such CPUs is near everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ..topology.model import Gpu
from .claim import choose_gpus

#: From the first release on, --gpus-per-task takes GPUs near the task; before, tasks had them in order,
#: wherever they ran. From the second on, --ntasks-per-gpu counts the tasks on a GPU; before, each task took
#: one that is near it.
PER_TASK_BY_CPUS = (23, 11)
SINGLE_BY_CPUS = (23, 2)

Release = tuple[int, int]


def shown_closest(gpus: Sequence[Gpu], masks: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """--gpu-bind=closest: for each task the numbers of the GPUs near it, else the first of the step."""
    return [
        tuple(number for number, gpu in enumerate(gpus) if _is_local(gpu, mask)) or (0,) for mask in masks
    ]


def shown_each(
    gpus: Sequence[Gpu],
    masks: Sequence[Sequence[int]],
    release: Optional[Release] = None,
    each: Optional[int] = None,
) -> list[tuple[int, ...]]:
    """Each task has its own: --gpus-per-task, or --ntasks-per-gpu with more tasks than GPUs.

    ``release``: Slurm's, None: the newest. ``each``: GPUs per task, None: as many as there are for it.
    """
    count, tasks = len(gpus), len(masks)
    if tasks > count:
        sharers = -(-tasks // count)
        if release is not None and release < SINGLE_BY_CPUS:
            local = shown_closest(gpus, masks)
            return [(own[task // sharers % len(own)],) for task, own in enumerate(local)]
        return _single(gpus, masks, sharers)
    if each is None and count % tasks:
        choices = [choose_gpus(task, tasks, count) for task in range(tasks)]
        return [tuple(range(choice.first, choice.first + choice.count)) for choice in choices]
    each = each or count // tasks
    if release is not None and release < PER_TASK_BY_CPUS:
        return [tuple(range(task * each, (task + 1) * each)) for task in range(tasks)]
    return _per_task(gpus, masks, each)


def _per_task(gpus: Sequence[Gpu], masks: Sequence[Sequence[int]], each: int) -> list[tuple[int, ...]]:
    """Each task in turn takes free GPUs that are near it, then any that are free."""
    free = list(range(len(gpus)))
    shown = []
    for mask in masks:
        local = [number for number in free if _is_local(gpus[number], mask)]
        mine = [*local, *(number for number in free if number not in local)][:each]
        free = [number for number in free if number not in mine]
        shown.append(tuple(sorted(mine)))
    return shown


def _single(gpus: Sequence[Gpu], masks: Sequence[Sequence[int]], sharers: int) -> list[tuple[int, ...]]:
    """Each task in turn takes a place on a GPU near all of its CPUs, else near some, else on the first."""
    seats = [sharers] * len(gpus)
    shown: list[tuple[int, ...]] = []
    for mask in masks:
        free = [number for number, left in enumerate(seats) if left]
        mine = min(free, key=lambda number: (_distance(gpus[number], mask), number))
        seats[mine] -= 1
        shown.append((mine,))
    return shown


def _distance(gpu: Gpu, mask: Sequence[int]) -> int:
    if gpu.node is None:
        return 2
    return 0 if set(mask) <= set(gpu.cpus) else 1 if _is_local(gpu, mask) else 2


def _is_local(gpu: Gpu, mask: Sequence[int]) -> bool:
    return gpu.node is None or not set(gpu.cpus).isdisjoint(mask)
