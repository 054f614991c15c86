"""Which GPUs a task has: by what it may open, then by what the variables say.

The same rules as the plugin's (na_devices_of_task in spank/devices.c), for a process that asks about itself.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Optional

from ..names import NICS
from ..slurm_env import Place, place_of, to_number
from ..sysfs import Tree
from ..topology.gpu.vendors import VENDORS
from ..topology.model import Gpu, Topology
from ..topology.select import hides_all, listed_for_runtime, parent_of_instance

_LIVE = Tree("/")


def may_open(device: str) -> bool:
    """Ask the device cgroup without opening, and so without waking, the GPU."""
    return os.access(device, os.R_OK | os.W_OK)


def usable_nics(
    topology: Topology,
    environment: Mapping[str, str],
    may_open: Callable[[str], bool] = may_open,
) -> tuple[str, ...]:
    """Names of the network cards that this process may use: that it can open, inside an aligned task its own.

    Those of another network namespace are in no topology that a process reads for itself.
    """
    given = environment.get(NICS, "").split(",") if environment.get(NICS) else None
    return tuple(
        nic.name
        for nic in topology.nics
        if nic.is_choosable and nic.name and nic.device and may_open(nic.device)
        and (given is None or nic.name in given)
    )  # fmt: skip


def visible_list(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> Optional[str]:
    """What the runtime of these GPUs is told to see, None where nothing is said."""
    vendor = VENDORS.get(gpus[0].vendor) if gpus else None
    return None if vendor is None else environment.get(vendor.visible)


def _inner_list(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> Optional[str]:
    """What a library on top of that runtime is told to see of the rest; to it an empty list is no list."""
    vendor = VENDORS.get(gpus[0].vendor) if gpus else None
    names = () if vendor is None else vendor.inner
    return next((environment[name] for name in names if environment.get(name)), None)


def hidden_by_variable(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> bool:
    """Whether a variable shows none of the machine's GPUs. To Level Zero an empty mask is no mask."""
    text = visible_list(gpus, environment)
    if text is not None and gpus[0].vendor != "intel" and hides_all(text):
        return True
    inner = _inner_list(gpus, environment)
    return inner is not None and hides_all(inner)


def visible_gpus(
    gpus: Sequence[Gpu],
    environment: Mapping[str, str],
    may_open: Callable[[str], bool] = may_open,
    tree: Tree = _LIVE,
) -> tuple[Gpu, ...]:
    """The GPUs that this process can use, in the order in which it counts them.

    ``gpus`` in ascending order of BDF, as a Topology has them. A list of which no entry can be told, and one
    with a GPU that cannot be opened, does not count.
    """
    reachable = tuple(gpu for gpu in gpus if gpu.device and may_open(gpu.device))
    text = visible_list(reachable, environment)
    if hidden_by_variable(reachable, environment):
        return ()
    outer = reachable if text is None else _shown_by_runtime(text, gpus, reachable, tree)
    return _shown_inside(outer, environment, text)


def _shown_by_runtime(
    text: str, gpus: Sequence[Gpu], reachable: tuple[Gpu, ...], tree: Tree
) -> tuple[Gpu, ...]:
    # With a device cgroup a list of numbers has as many entries as devices can be opened, and says in
    # which order the program counts them; a shorter one means that the cgroup did not tell.
    entries = text.count(",") + 1
    if text[:1].isdigit() and entries > len(reachable):
        return reachable
    # In the order of addresses: CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID, and with equal GPUs always.
    within = entries == len(reachable) or len(reachable) < len(gpus)
    named = listed_for_runtime(
        text, gpus, reachable if within else None, lambda name: parent_of_instance(name, gpus, tree)
    )
    return named if named and set(named) <= set(reachable) else reachable


def _shown_inside(
    gpus: tuple[Gpu, ...], environment: Mapping[str, str], outer: Optional[str]
) -> tuple[Gpu, ...]:
    """What a library on top of the runtime (HIP) shows of these, in which its numbers count.

    The runtime's own list once more is no second word: Slurm writes one list into all variables where
    gres.conf has no Flags=amd_gpu_env.
    """
    text = _inner_list(gpus, environment)
    if text is None or text == outer:
        return gpus
    named = listed_for_runtime(text, gpus, gpus, lambda _name: None)
    return tuple(itertools.takewhile(lambda gpu: gpu in gpus, named))


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
