"""The variables that show a program the GPUs that its user chose. Pure.

Only outside an allocation: inside one, Slurm sets these variables, which say which GPUs a task has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..errors import RequestError
from ..topology.gpu.vendors import VENDORS
from ..topology.model import Gpu
from .visible import visible_gpus


def expose(
    gpus: Sequence[Gpu],
    chosen: Sequence[Gpu],
    environment: Mapping[str, str],
    openable: Callable[[str], bool],
) -> dict[str, str]:
    """The variables by which a program sees the ``chosen`` of the machine's GPUs, and no others.

    Empty inside an allocation. Raises RequestError if such a variable is set and names others.
    """
    exposed: dict[str, str] = {}
    for vendor, record in VENDORS.items():
        name = record.visible
        mine = [gpu for gpu in chosen if gpu.vendor == vendor]
        if not mine:
            continue
        said = [other for other in record.inner if environment.get(other)]
        if name in environment or said:
            _compare(gpus, mine, environment, openable, name if name in environment else said[0])
        elif not environment.get("SLURM_JOB_ID"):
            exposed.update(_named(vendor, name, gpus, mine, openable))
    return exposed


def _compare(
    gpus: Sequence[Gpu],
    mine: Sequence[Gpu],
    environment: Mapping[str, str],
    openable: Callable[[str], bool],
    name: str,
) -> None:
    """Refuse a variable that names others; inside an allocation a task may choose among its GPUs."""
    shown = {gpu.bdf for gpu in visible_gpus(gpus, environment, openable)}
    wanted = {gpu.bdf for gpu in mine}
    if shown == wanted or (environment.get("SLURM_JOB_ID") and shown > wanted):
        return
    other = ", ".join(sorted(wanted - shown)) or "fewer"
    raise RequestError(
        f"{name} is {environment[name][:200]!r} and shows the program other GPUs than --gpus ({other}): "
        "unset it, name the same GPUs in both, or use --leave-visible"
    )


def _named(
    vendor: str, name: str, gpus: Sequence[Gpu], mine: Sequence[Gpu], openable: Callable[[str], bool]
) -> dict[str, str]:
    """By UUID, which every library understands; else by number in the order of addresses."""
    if vendor == "nvidia" and all(gpu.uuid for gpu in mine):
        return {name: ",".join(str(gpu.uuid) for gpu in mine)}
    counted = [gpu.bdf for gpu in gpus if gpu.vendor == vendor and gpu.device and openable(gpu.device)]
    unknown = [gpu.bdf for gpu in mine if gpu.bdf not in counted]
    if unknown:
        raise RequestError(
            f"GPU {unknown[0]} cannot be opened, so it cannot be made visible to a program: is its "
            "driver loaded? --leave-visible binds near it anyway"
        )
    order = VENDORS[vendor].order
    return {**dict([order] if order else []), name: ",".join(str(counted.index(gpu.bdf)) for gpu in mine)}
