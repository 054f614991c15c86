"""``numa-align show``: the binding as options of other tools. Nothing is bound."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Optional, TypedDict

import click

from ..sysfs import Tree
from .recorded import is_live, machine_at, machine_options
from .words import spec_option

if TYPE_CHECKING:
    from ..names import State
    from ..placement.claim import Spec
    from ..placement.decide import Decision
    from ..placement.own import Own
    from ..topology.gpu.pci import Way
    from ..topology.model import Gpu, Topology

#: The tools of `view.export`, which --help does not load; a test checks that the two lists are equal.
_TOOLS = ("numactl", "taskset", "docker", "podman", "compose", "apptainer", "enroot", "cdi", "kubernetes",
          "kubernetes-dra", "systemd", "env", "nccl-topo")  # fmt: skip


#: What ``show --json`` prints; docs/users.md describes the fields.
ShowFields = TypedDict(
    "ShowFields",
    {"version": int, "as": str, "text": str, "notes": list[str], "state": "State", "reason": Optional[str]},
)


@click.command(
    short_help="Print the binding as options of numactl, docker, Kubernetes and others.",
    epilog="Example: numa-align show --gpus 0 --as docker",
)
@click.option(
    "--gpus",
    metavar="LIST",
    required=True,
    help="GPUs: Slurm's indexes (or numbers in the order of addresses), PCI addresses or UUIDs.",
)
@click.option("--as", "tool", type=click.Choice(_TOOLS), required=True, help="The tool to write for.")
@spec_option
@click.option(
    "--cpus", "cores", type=click.IntRange(min=1), metavar="N", help="Use only N whole cores of the share."
)
@click.option(
    "--memory", is_flag=True, help="Also set a memory limit: the GPUs' share of the memory of their nodes."
)
@machine_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/users.md has the schema.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    gpus: str,
    tool: str,
    spec: Optional[str],
    cores: Optional[int],
    memory: bool,
    root: str,
    node_name: Optional[str],
    as_json: bool,
) -> None:
    """Print the CPUs and memory nearest to some GPUs as options of another tool.

    Each GPU of the machine has its own share, so containers for different GPUs do not share a core;
    --numa-align=cpus=node gives all cores of the nodes, which GPUs on the same node then share.

    Remarks go to stderr, so that the options can be used in place:

        eval docker run $(numa-align show --gpus 0,1 --as docker) IMAGE

    Exit status: 0 if that is aligned, 1 if it is not (a remark says why), 2 for wrong input.
    """
    from ..placement.claim import spec_help  # noqa: PLC0415
    from ..placement.decide import share_of, warning_of  # noqa: PLC0415
    from ..placement.own import Own  # noqa: PLC0415
    from ..placement.plan import select_gpus  # noqa: PLC0415
    from ..process.affinity import read_own  # noqa: PLC0415
    from ..process.apply import spec_of  # noqa: PLC0415
    from ..view.export import WANT_WAYS, show  # noqa: PLC0415

    read, _ = spec_of(spec, os.environ)
    if read.help:
        click.echo(spec_help(), nl=False)
        return
    topology = machine_at(root, node_name=node_name)
    chosen = select_gpus(topology, gpus, Tree(root))
    memory_nodes = tuple(node.id for node in topology.nodes if node.memory_bytes)
    own = read_own() if is_live(root) else Own(topology.online, topology.online, memory_nodes)
    whole = [gpu for gpu in range(len(topology.gpus)) if gpu in chosen or _usable(root, topology.gpus[gpu])]
    decision = share_of(topology, own, read, chosen, whole, cores=cores)
    near = [topology.gpus[gpu] for gpu in chosen]
    ways = _ways(root, topology) if tool in WANT_WAYS else {}
    shown = show(tool, topology, decision, near, with_memory=memory, cores=cores, ways=ways)
    notes = [*shown.notes, *_sharers(topology, own, read, whole, decision)]
    warning = warning_of(decision)
    if as_json:
        fields: ShowFields = {
            "version": 1, "as": tool, "text": shown.text, "notes": notes,
            "state": decision.placement.state, "reason": decision.placement.reason,
        }  # fmt: skip
        click.echo(json.dumps(fields, indent=1))
    else:
        click.echo(shown.text)
        for note in (*notes, *([warning] if warning else [])):
            click.echo(f"numa-align: {note}", err=True)
    ctx.exit(0 if warning is None else 1)


def _ways(root: str, topology: Topology) -> dict[str, Way]:
    from ..topology.gpu.pci import read_way  # noqa: PLC0415

    addresses = {gpu.bdf for gpu in topology.gpus} | {nic.bdf for nic in topology.nics}
    return {bdf: read_way(Tree(root), bdf) for bdf in addresses}


def _usable(root: str, gpu: Gpu) -> bool:
    """Whether others besides us may have the GPU: inside a job, GPUs of other jobs do not count."""
    from ..placement.visible import may_open  # noqa: PLC0415

    return not is_live(root) or gpu.device is None or may_open(gpu.device)


def _sharers(
    topology: Topology, own: Own, spec: Spec, whole: Sequence[int], decision: Decision
) -> Iterator[str]:
    """A remark about other GPUs, for which some of the same CPUs would be printed."""
    from ..placement.decide import share_of  # noqa: PLC0415
    from ..topology.select import number_of  # noqa: PLC0415

    cpus, chosen = set(decision.placement.cpus), decision.placement.gpus
    theirs = {
        gpu: share_of(topology, own, spec, (gpu,), whole).placement.cpus for gpu in whole if gpu not in chosen
    }
    others = [str(number_of(topology.gpus, gpu)) for gpu, some in theirs.items() if not cpus.isdisjoint(some)]
    if others:
        verb, noun = ("get", "GPUs") if len(others) > 1 else ("gets", "GPU")
        yield f"{noun} {', '.join(others)} {verb} the same CPUs: without cpus=node each GPU has its own"
