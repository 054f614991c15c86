"""Which GPUs a task has: by what it may open, then by what the variables say.

The same rules as spank/devices.c, for a process that
asks about itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Optional

from ..slurm_env import Place, place_of, to_number
from ..topology.model import Gpu

#: The variable by which each vendor's runtime is shown some of the GPUs.
VISIBLE = {"nvidia": "CUDA_VISIBLE_DEVICES", "amd": "ROCR_VISIBLE_DEVICES", "intel": "ZE_AFFINITY_MASK"}


def may_open(device: str) -> bool:
    """Ask the device cgroup without opening, and so without waking, the GPU."""
    return os.access(device, os.R_OK | os.W_OK)


def _by_name(gpus: Sequence[Gpu], name: str) -> Optional[Gpu]:
    """A GPU by a unique start of its UUID; MIG-GPU-UUID/x/y names the GPU of the instance."""
    name = name[4:] if name.startswith("MIG-GPU-") else name
    name = name.partition("/")[0]
    found = [gpu for gpu in gpus if gpu.uuid and len(name) > 4 and gpu.uuid.startswith(name)]
    return found[0] if len(found) == 1 else None


def read_list(text: str, gpus: Sequence[Gpu], among: Optional[Sequence[Gpu]]) -> tuple[Gpu, ...]:
    """The GPUs a variable names; numbers are Slurm's index or, with ``among``, positions there.

    Empty if any entry cannot be told: half a list is worse than none.
    """
    result: dict[str, Gpu] = {}
    for entry in text.split(","):
        number = to_number(entry)
        gpu: Optional[Gpu] = None
        if number is None:
            gpu = _by_name(gpus, entry)
        elif among is not None:
            gpu = among[number] if number < len(among) else None
        else:
            gpu = next((g for g in gpus if g.index == number), None)
        if gpu is None:
            return ()
        result[gpu.bdf] = gpu
    return tuple(result.values())


#: What shows a program no GPU: CUDA reads a list up to its first invalid entry, and here that is the first.
_NONE = ("", "-1")


def visible_gpus(
    gpus: Sequence[Gpu],
    environment: Mapping[str, str],
    may_open: Callable[[str], bool] = may_open,
) -> tuple[Gpu, ...]:
    """The GPUs that this process can use, in the order in which it counts them.

    ``gpus`` in ascending order of BDF, as a Topology has them.
    """
    reachable = tuple(gpu for gpu in gpus if gpu.device and may_open(gpu.device))
    if not reachable:
        return ()
    text = environment.get(VISIBLE.get(reachable[0].vendor, ""))
    if text is not None and text.strip() in _NONE:
        return ()
    if text and len(text.split(",")) <= len(reachable):
        # Without Slurm's indexes a number counts what can be opened, in the order of addresses
        # (CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID, and with equal GPUs always).
        numbered = len(reachable) == len(gpus) and all(gpu.index is not None for gpu in gpus)
        among = None if numbered else reachable
        named = read_list(text, gpus, among)
        if named:
            return named
    return reachable


def used_gpus(visible: Sequence[Gpu], place: Place, step_gpus: Optional[int]) -> tuple[Gpu, ...]:
    """Of the visible GPUs those that a program uses which counts by SLURM_LOCALID.

    ``step_gpus``: how many GPUs the step has on this node (SLURM_GPUS_ON_NODE), None if unknown.
    """
    from .claim import choose_gpus  # noqa: PLC0415 - compiled; commands that choose nothing do without

    count = len(visible)
    if not count:
        return ()
    tasks = place.tasks
    if step_gpus and count < step_gpus:
        # Slurm has told the tasks apart: only those that see the same GPUs divide them.
        tasks = max(1, place.tasks * count // step_gpus)
        if tasks > 1:
            return (visible[place.id % count],)
    choice = choose_gpus(place.id if tasks > 1 else 0, tasks, count)
    return tuple(visible[choice.first : choice.first + choice.count])


def gpus_of_task(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs that the calling task uses, by its environment and the device cgroup."""
    visible = visible_gpus(gpus, environment)
    return used_gpus(visible, place_of(environment), to_number(environment.get("SLURM_GPUS_ON_NODE")))
