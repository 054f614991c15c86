"""Which GPUs a task has: those that it may open, then those that the variables name.

The same rules as in the plugin (na_devices_of_task in spank/devices.c), for a process that asks about itself.
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
from ..topology.select import hides_all, listed_for_runtime, parent_of_instance, repeats

_LIVE = Tree("/")


def may_open(device: str) -> bool:
    """Ask the device cgroup without opening the GPU, which would wake it."""
    return os.access(device, os.R_OK | os.W_OK)


def usable_nics(
    topology: Topology,
    environment: Mapping[str, str],
    may_open: Callable[[str], bool] = may_open,
) -> tuple[str, ...]:
    """Names of the network cards that this process may use: it can open them, and they are its task's own.

    A topology that a process reads for itself has no cards of other network namespaces.
    """
    given = environment.get(NICS, "").split(",") if environment.get(NICS) else None
    return tuple(
        nic.name
        for nic in topology.nics
        if nic.is_choosable and nic.name and nic.device and may_open(nic.device)
        and (given is None or nic.name in given)
    )  # fmt: skip


def visible_list(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> Optional[str]:
    """The list of GPUs that the runtime of these GPUs is told to use, None if there is none."""
    vendor = VENDORS.get(gpus[0].vendor) if gpus else None
    return None if vendor is None else environment.get(vendor.visible)


def _inner_list(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> Optional[str]:
    """The list that a library above that runtime reads, for which an empty list means none."""
    vendor = VENDORS.get(gpus[0].vendor) if gpus else None
    names = () if vendor is None else vendor.inner
    return next((environment[name] for name in names if environment.get(name)), None)


def hidden_by_variable(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> bool:
    """Whether a variable hides all of the machine's GPUs. Level Zero treats an empty mask as none."""
    text = visible_list(gpus, environment)
    vendor = gpus[0].vendor if gpus else ""
    if text is not None and vendor != "intel" and hides_all(text):
        return True
    if text is not None and vendor == "nvidia" and repeats(text):
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

    ``gpus`` are in ascending order of BDF, as in a Topology. A list is ignored if none of its entries is
    recognised, or if one of its GPUs cannot be opened.
    """
    reachable = _reachable(gpus, may_open)
    text = visible_list(reachable, environment)
    if hidden_by_variable(reachable, environment):
        return ()
    outer = reachable if text is None else _shown_by_runtime(text, gpus, reachable, tree) or reachable
    return _shown_inside(outer, environment, text)


def unknown_list(
    gpus: Sequence[Gpu],
    environment: Mapping[str, str],
    may_open: Callable[[str], bool] = may_open,
    tree: Tree = _LIVE,
) -> Optional[str]:
    """The variable whose list names none of several GPUs, with its value; None if there is no such list.

    Numbers in an allocation are Slurm's; with --gpus-per-task they may be the node's, whichever GPUs the
    task can open.
    """
    reachable = _reachable(gpus, may_open)
    text = visible_list(reachable, environment)
    if text is None or len(reachable) < 2 or hidden_by_variable(reachable, environment):
        return None
    of_slurm = environment.get("SLURM_JOB_ID") and text[:1].isdigit()
    if of_slurm or (reachable[0].vendor == "intel" and hides_all(text)):
        return None
    if _shown_by_runtime(text, gpus, reachable, tree):
        return None
    return f"{VENDORS[reachable[0].vendor].visible} is {text[:80]!r}"


def _reachable(gpus: Sequence[Gpu], may_open: Callable[[str], bool]) -> tuple[Gpu, ...]:
    return tuple(gpu for gpu in gpus if gpu.device and may_open(gpu.device))


def _shown_by_runtime(
    text: str, gpus: Sequence[Gpu], reachable: tuple[Gpu, ...], tree: Tree
) -> tuple[Gpu, ...]:
    """The GPUs of a list; () if it names none, or one that this process cannot open."""
    # With a device cgroup a list of numbers has as many entries as devices can be opened, and gives the
    # order in which the program counts them; a shorter one means that the cgroup does not confine devices.
    entries = text.count(",") + 1
    if text.lstrip(" ")[:1].isdigit() and entries > len(reachable):
        return reachable
    # In the order of addresses: CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID, and always with equal GPUs.
    within = entries == len(reachable) or len(reachable) < len(gpus)
    named = listed_for_runtime(
        text, gpus, reachable if within else None, lambda name: parent_of_instance(name, gpus, tree)
    )
    return named if set(named) <= set(reachable) else ()


def _shown_inside(
    gpus: tuple[Gpu, ...], environment: Mapping[str, str], outer: Optional[str]
) -> tuple[Gpu, ...]:
    """The part of these that a library above the runtime (HIP) shows; its numbers count within them.

    A repetition of the runtime's own list adds nothing: Slurm writes one list into all variables if
    gres.conf has no Flags=amd_gpu_env.
    """
    text = _inner_list(gpus, environment)
    if text is None or text == outer:
        return gpus
    named = listed_for_runtime(text, gpus, gpus, lambda _name: None)
    return tuple(itertools.takewhile(lambda gpu: gpu in gpus, named))


def used_gpus(visible: Sequence[Gpu], place: Place, step_gpus: Optional[int]) -> tuple[Gpu, ...]:
    """The visible GPUs that are used by a program which chooses by SLURM_LOCALID.

    ``step_gpus``: how many GPUs the step has on this node (SLURM_GPUS_ON_NODE), None if unknown.
    """
    from .claim import choose_gpus  # noqa: PLC0415 - compiled; commands that choose nothing do without

    count = len(visible)
    if not count:
        return ()
    tasks = place.tasks
    if step_gpus and count < step_gpus:
        # Slurm has given tasks different GPUs: only tasks that see the same GPUs divide them.
        tasks = max(1, place.tasks * count // step_gpus)
        if tasks > 1:
            return (visible[place.id % count],)
    choice = choose_gpus(place.id if tasks > 1 else 0, tasks, count)
    return tuple(visible[choice.first : choice.first + choice.count])


def gpus_of_task(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs that the calling task uses, by its environment and the device cgroup."""
    visible = visible_gpus(gpus, environment)
    return used_gpus(visible, place_of(environment), to_number(environment.get("SLURM_GPUS_ON_NODE")))
