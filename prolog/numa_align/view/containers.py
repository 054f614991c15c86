"""A binding as options of container engines: docker, podman, compose, apptainer, enroot, CDI. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from ..topology.gpu.vendors import VENDORS
from ..topology.model import Gpu, Topology
from .host import numactl
from .shown import Binding, Shown

_HARD = (
    "--cpuset-mems is a hard limit: a container that needs more than these nodes have is killed; "
    "`numa-align run` inside prefers them instead (--cap-add SYS_NICE)"
)
_CDI_FILE = "the device names are those of the CDI file that `nvidia-ctk cdi generate` writes"


def docker(binding: Binding) -> Shown:
    """Options of docker run."""
    cpuset, notes = _cpuset(binding)
    nvidia = [gpu for gpu in binding.gpus if gpu.vendor == "nvidia"]
    parts = [*cpuset, *_limit(binding)]
    if nvidia:
        devices = "device=" + ",".join(_names(binding.topology, nvidia))
        # docker reads the value as CSV, so a list needs quotes of its own.
        parts.append("--gpus " + (shlex.quote(f'"{devices}"') if len(nvidia) > 1 else devices))
    return Shown(" ".join(parts + _device_options(binding.gpus)), notes)


def podman(binding: Binding) -> Shown:
    """Options of podman run."""
    cpuset, notes = _cpuset(binding)
    names = _cdi_names(binding.topology, binding.gpus)
    parts = [*cpuset, *_limit(binding), *(f"--device={name}" for name in names)]
    return Shown(" ".join(parts + _device_options(binding.gpus)), (*notes, *([_CDI_FILE] if names else [])))


def compose(binding: Binding) -> Shown:
    """A service of a compose file."""
    lines = ["services:", "  main:", "    image: IMAGE", f"    cpuset: {json.dumps(binding.cpus)}"]
    if binding.limit_mib is not None or _nvidia(binding):
        lines += ["    deploy:", "      resources:"]
    if binding.limit_mib is not None:
        lines += ["        limits:", f"          memory: {binding.limit_mib}M"]
    if _nvidia(binding):
        lines += ["        reservations:", "          devices:", "            - driver: nvidia"]
        lines += [f"              device_ids: {json.dumps(_names(binding.topology, _nvidia(binding)))}"]
        lines += ["              capabilities: [gpu]"]
    files = _device_files(binding.gpus)
    if files:
        lines += ["    devices:", *(f"      - {file}:{file}" for file in files)]
    note = "compose has no word for memory nodes: memory comes from the node of the CPU that touches it first"
    return Shown("\n".join(lines), (f"{note}; `numa-align run` inside sets it (cap_add: [SYS_NICE])",))


def apptainer(binding: Binding) -> Shown:
    """Options of apptainer run, exec and instance start."""
    cpuset, notes = _cpuset(binding)
    flags = {"nvidia": "--nv", "amd": "--rocm"}
    parts = [part.replace("=", " ") for part in (*cpuset, *_limit(binding))]
    parts += dict.fromkeys(flags[gpu.vendor] for gpu in binding.gpus if gpu.vendor in flags)
    parts += [f"--env {name}={value}" for name, value in binding.runtime_variables().items()]
    needs = (
        "the cpuset options need apptainer 1.1 and a delegated cpuset controller of cgroups v2; else: numactl"
    )
    inside = "inside a Slurm task that the plugin has bound none of this is needed"
    hard = tuple(note.replace(" (--cap-add SYS_NICE)", "") for note in notes)
    return Shown(" ".join(parts), (*hard, needs, inside))


def enroot(binding: Binding) -> Shown:
    """The beginning of a command line: enroot itself binds nothing, and keeps its caller's binding."""
    around = numactl(binding)
    parts = [f"numactl {around.text} enroot start"]
    if _nvidia(binding):
        names = ",".join(_names(binding.topology, _nvidia(binding)))
        parts.append(f"--env NVIDIA_VISIBLE_DEVICES={names}")
    elif binding.gpus:
        parts += [f"--mount {file}" for file in _device_files(binding.gpus)]
    pyxis = (
        "pyxis starts the container inside the task that the plugin has bound: "
        "srun --numa-align --container-image=IMAGE needs none of this"
    )
    return Shown(" ".join(parts), (*around.notes, pyxis))


def cdi(binding: Binding) -> Shown:
    """Names of the devices for any engine that reads CDI files, one per line."""
    names = _cdi_names(binding.topology, binding.gpus)
    names += _device_files(binding.gpus)
    numbered = "CDI files of these GPUs number them in an order of their own: these are their device files"
    note = _CDI_FILE if _nvidia(binding) else numbered
    return Shown("\n".join(names), (note, "names bind nothing: CPUs and memory are said beside them"))


def _nvidia(binding: Binding) -> list[Gpu]:
    return [gpu for gpu in binding.gpus if gpu.vendor == "nvidia"]


def _cpuset(binding: Binding) -> tuple[list[str], tuple[str, ...]]:
    """The options for CPUs and memory nodes, and remarks on the latter.

    There is no --cpuset-mems if no node is known to be near (an empty list would be refused), or if
    the requested policy does not hold memory on some nodes.
    """
    cpus, policy = f"--cpuset-cpus={binding.cpus}", binding.placement.policy
    if policy in ("preferred", "preferred-many", "bind") and binding.nodes:
        return [cpus, f"--cpuset-mems={binding.nodes}"], (_HARD,)
    if policy == "interleave":
        return [cpus], ("a container's options set no policy: `numa-align run` inside interleaves",)
    return [cpus], ()


def _limit(binding: Binding) -> list[str]:
    return [] if binding.limit_mib is None else [f"--memory={binding.limit_mib}m"]


def _names(topology: Topology, gpus: Sequence[Gpu]) -> list[str]:
    """UUIDs if all are known; else NVML's numbers, which count NVIDIA's GPUs by address."""
    if all(gpu.uuid for gpu in gpus):
        return [gpu.uuid for gpu in gpus if gpu.uuid]
    order = [gpu.bdf for gpu in topology.gpus if gpu.vendor == "nvidia"]
    return [str(order.index(gpu.bdf)) for gpu in gpus]


def _cdi_names(topology: Topology, gpus: Sequence[Gpu]) -> list[str]:
    """For NVIDIA's GPUs only: other vendors' files have their own numbering, so these go by device file."""
    nvidia = [gpu for gpu in gpus if gpu.vendor == "nvidia"]
    return [f"{VENDORS['nvidia'].cdi}={name}" for name in _names(topology, nvidia)]


def _device_files(gpus: Sequence[Gpu]) -> list[str]:
    """GPUs that a container gets as device files, and the other files that their runtime needs."""
    others = [gpu for gpu in gpus if gpu.vendor != "nvidia" and gpu.device]
    beside = dict.fromkeys(file for gpu in others for file in VENDORS[gpu.vendor].beside)
    return [*beside, *(str(gpu.device) for gpu in others)]


def _device_options(gpus: Sequence[Gpu]) -> list[str]:
    return [f"--device={file}" for file in _device_files(gpus)]
