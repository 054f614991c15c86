"""Which GPU of a machine is meant, by the names that people, Slurm and the runtimes use.

The rules for lists of Slurm and of runtimes are also the plugin's (spank/placement/gpu_list.c); a test
compares them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Optional

from ..errors import RequestError
from ..slurm_env import to_number
from ..sysfs import Tree
from .gpu.nvidia import mig_instances
from .gpu.nvml import mig_parent
from .gpu.pci import normalise_bdf
from .model import Gpu

#: Finds the GPU of a MIG instance, which the instance's own UUID does not tell; None if unknown.
FindParent = Callable[[str], Optional[Gpu]]

_RANGE = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")


# -- One name ---------------------------------------------------------------------------------


def by_number(gpus: Sequence[Gpu], number: int) -> Optional[Gpu]:
    """By Slurm's index; by the position in the order of addresses if no GPU has an index."""
    if any(gpu.index is not None for gpu in gpus):
        return next((gpu for gpu in gpus if gpu.index == number), None)
    return gpus[number] if number < len(gpus) else None


def number_of(gpus: Sequence[Gpu], position: int) -> int:
    """A GPU's number for a person: Slurm's index, or its position if the index is unknown."""
    index = gpus[position].index
    return position if index is None else index


def by_uuid(gpus: Sequence[Gpu], name: str) -> tuple[Gpu, ...]:
    """The GPUs whose UUID begins with ``name``, as CUDA accepts it: only a unique beginning names one.

    ``MIG-GPU-<uuid>/<gi>/<ci>``, of drivers before 470, names the GPU that has the instance.
    """
    name = name.lower()
    if name.startswith("mig-gpu-"):
        name = name[len("mig-") :]
    name = name.partition("/")[0]
    if len(name) <= len("gpu-"):
        return ()
    return tuple(gpu for gpu in gpus if gpu.uuid and gpu.uuid.lower().startswith(name))


def parent_of_instance(uuid: str, gpus: Sequence[Gpu], tree: Tree) -> Optional[Gpu]:
    """The GPU of a MIG instance.

    The instance's UUID does not tell its GPU: if only one GPU has instances it is that one,
    otherwise NVML is asked, on the live machine. None if unknown.
    """
    nvidia = [gpu for gpu in gpus if gpu.vendor == "nvidia"]
    divided = [gpu for gpu in nvidia if gpu.minor is not None and mig_instances(tree, gpu.minor)]
    if len(divided) == 1:
        return divided[0]
    bdf = mig_parent(uuid) if tree.is_live else None
    return next((gpu for gpu in nvidia if gpu.bdf == bdf), None)


def _is_instance(name: str) -> bool:
    return name.lower().startswith("mig-")


# -- What a person writes -----------------------------------------------------------------------


def select(text: str, gpus: Sequence[Gpu], tree: Tree) -> tuple[int, ...]:
    """Positions of the GPUs of a list, ascending.

    A GPU is named by its number (see `by_number`), a range of these, PCI address, UUID or the beginning of
    one, or by one of its MIG instances. Raises RequestError.
    """
    order = {gpu.bdf: position for position, gpu in enumerate(gpus)}
    chosen: set[int] = set()
    for name in text.replace(",", " ").split():
        chosen.update(order[gpu.bdf] for gpu in _meant(name, gpus, tree))
    if not chosen:
        raise RequestError(f"the list names no GPU; {_existing(gpus)}")
    return tuple(sorted(chosen))


def _meant(name: str, gpus: Sequence[Gpu], tree: Tree) -> tuple[Gpu, ...]:
    """The GPUs that one entry of a list names, at least one."""
    numbers = _RANGE.fullmatch(name)
    if numbers is not None:
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        found = [by_number(gpus, number) for number in range(first, last + 1)]
        if found and None not in found:
            return tuple(gpu for gpu in found if gpu is not None)
        raise RequestError(f"there is no GPU {name!r}; {_existing(gpus)}")
    address = normalise_bdf(name)
    matching = tuple(gpu for gpu in gpus if gpu.bdf == address) if address else by_uuid(gpus, name)
    if len(matching) > 1:
        raise RequestError(f"{len(matching)} GPUs have a UUID that begins with {name[:60]!r}")
    if not matching and _is_instance(name) and not name.lower().startswith("mig-gpu-"):
        parent = parent_of_instance(name, gpus, tree)
        if parent is None:
            raise RequestError(
                f"the GPU of the MIG instance {name[:60]!r} is unknown without NVML (the Python "
                f"package nvidia-ml-py); install it, or name the GPU instead: {_existing(gpus)}"
            )
        return (parent,)
    if not matching:
        raise RequestError(f"there is no GPU {name[:60]!r}; {_existing(gpus)}")
    return matching


def _existing(gpus: Sequence[Gpu]) -> str:
    if not gpus:
        return "this machine has none"
    names = (f"{number_of(gpus, position)} ({gpu.bdf})" for position, gpu in enumerate(gpus))
    return "there are " + ", ".join(names)


# -- What Slurm and the runtimes' variables say -------------------------------------------------


#: What strtol() skips.
_BLANKS = " \t\n\v\f\r"

#: GPU- and the 36 characters of a UUID.
_UUID_LENGTH = 40


def _by_uuid_alone(gpus: Sequence[Gpu], name: str) -> Optional[Gpu]:
    found = by_uuid(gpus, name)
    return found[0] if len(found) == 1 else None


def listed_by_slurm(text: str, gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """The GPUs of Slurm's own list, which has its indexes, in the list's order.

    Empty if an entry is unknown: half a list is worse than none.
    """
    result: dict[str, Gpu] = {}
    for entry in (part.strip(" ") for part in text.split(",")):
        number = to_number(entry)
        gpu = _by_uuid_alone(gpus, entry)
        if number is not None:
            gpu = next((one for one in gpus if one.index == number), None)
        if gpu is None:
            return ()
        result[gpu.bdf] = gpu
    return tuple(result.values())


def hides_all(text: str) -> bool:
    """Whether a runtime's list shows no GPU: it is empty, or begins with -1 (CUDA, ROCm)."""
    return not text.strip(" ") or text.partition(",")[0].strip(" ") == "-1"


def _leading_number(text: str) -> Optional[int]:
    """The number with which an entry begins, as strtol() reads it; None for none, and below 0."""
    text = text.lstrip(_BLANKS)
    rest = text[1:] if text[:1] in ("+", "-") else text
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if not 0 < len(digits) < 7 or (text[0] == "-" and int(digits)):
        return None
    return int(digits)


def _runtime_entries(text: str, *, alike: bool) -> Iterator[tuple[str, Optional[int]]]:
    """The entries of a runtime's list, each with its number if it is one, up to the first invalid one.

    So CUDA's driver reads it (580.159, tried on two H100 cards): blanks and a sign before a number do not
    matter, nor does what follows it; a name begins at once, in capitals, and ends with its UUID. ``alike``:
    entries are all numbers or all names, as with CUDA; ROCm's may be mixed.
    """
    first_is_name = None
    for entry in text.split(","):
        number = _leading_number(entry)
        is_name = number is None
        if is_name and not entry.startswith(("GPU-", "MIG-")):
            return
        if alike and first_is_name not in (None, is_name):
            return
        first_is_name = is_name
        name = entry.rstrip(_BLANKS)
        yield (name[:_UUID_LENGTH] if name.startswith("GPU-") else name), number


def repeats(text: str) -> bool:
    """Whether CUDA's list has an entry twice, which shows no GPU.

    _parse_visible_devices in torch/cuda/__init__.py has the same rule. Entries behind an invalid one are
    ignored.
    """
    seen: set[object] = set()
    for name, number in _runtime_entries(text, alike=True):
        key = name.lower() if number is None else number
        if key in seen:
            return True
        seen.add(key)
    return False


def listed_for_runtime(
    text: str, gpus: Sequence[Gpu], among: Optional[Sequence[Gpu]], parent: FindParent
) -> tuple[Gpu, ...]:
    """The GPUs of a runtime's list, in its order; numbers as in `by_number`, or positions in ``among``.

    The list ends at its first invalid entry, as CUDA reads it. A MIG instance whose GPU ``parent`` does not
    know is valid too: then the whole list is unknown.
    """
    result: dict[str, Gpu] = {}
    alike = any(gpu.vendor == "nvidia" for gpu in gpus[:1])
    for entry, number in _runtime_entries(text, alike=alike):
        if number is None:
            gpu = _by_uuid_alone(gpus, entry)
            if gpu is None and _is_instance(entry):
                gpu = parent(entry)
        elif among is not None:
            gpu = among[number] if number < len(among) else None
        else:
            gpu = by_number(gpus, number)
        if gpu is None:
            return () if _is_instance(entry) else tuple(result.values())
        result[gpu.bdf] = gpu
    return tuple(result.values())
