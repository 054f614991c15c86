"""What ways of binding do in the test machine: the measured table of docs/comparison.md, as Markdown.

    python tests/bench/compare.py [--torch-numa FILE]        as root: it boots the machine

FILE is ``torch/numa/binding.py`` of PyTorch (2.13.0), which runs as it is in workers that a launcher starts;
what it asks CUDA, the addresses of the GPUs, is answered by a fake, as there is no CUDA in the machine.
Everything else is real: Slurm, its cgroups, and the kernel's report of each rank, by the tests' probe.

A rank uses the GPU that PyTorch programs use: the one with its number among those that it may open.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).parents[1]))

from e2e.steps import PROBE, PROBE_FILE, Rank, ranks_of
from machine import EmulatedMachine, Hardware, SlurmConfig

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "tests/e2e/launcher.py"

STOCK = SlurmConfig(plugstack_include=None, prolog=None, epilog=None)
NO_CORES = replace(STOCK, gres_cores=False)
PLUGIN = SlurmConfig()

#: Runs binding.py for LOCAL_RANK and becomes the command. torch is a fake that knows the GPUs' addresses.
TORCH_NUMA = """
import importlib.util, os, sys, types
addresses = sorted(os.listdir("/proc/driver/nvidia/gpus"))
def properties(number):
    domain, bus, device = addresses[number].split(".")[0].split(":")
    return types.SimpleNamespace(
        pci_domain_id=int(domain, 16), pci_bus_id=int(bus, 16), pci_device_id=int(device, 16))
cuda = types.SimpleNamespace(get_device_properties=properties, device_count=lambda: len(addresses))
sys.modules["torch"] = torch = types.ModuleType("torch")
torch.cuda = cuda
sys.modules["torch._utils_internal"] = internal = types.ModuleType("torch._utils_internal")
internal.signpost_event = lambda **_: None
spec = importlib.util.spec_from_file_location("binding", "/opt/binding.py")
sys.modules["binding"] = binding = importlib.util.module_from_spec(spec)
spec.loader.exec_module(binding)
binding._maybe_apply_numa_binding_to_current_process(
    gpu_index=int(os.environ["LOCAL_RANK"]),
    numa_options=binding.NumaOptions(affinity_mode=binding.AffinityMode(sys.argv[1])))
os.execvp(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Way:
    """A way of binding: what a user types before the program, and what is really run before the probe."""

    typed: str
    run: str
    config: SlurmConfig = STOCK
    note: str = ""


def _workers(binding: str) -> str:
    return f"python3 /opt/launcher.py 8 {binding}"


BY_HAND = "numactl --cpunodebind=$((SLURM_LOCALID/4)) --membind=$((SLURM_LOCALID/4))"

_BLOCK_LOCAL = "srun -n8 --gpus=8 -m block:block --mem-bind=local"

WAYS = (
    Way("srun -n8 --gpus=8", "srun -n8 --gpus=8"),
    Way("srun -n8 --gpus=8 --mem-bind=local", "srun -n8 --gpus=8 --mem-bind=local"),
    Way("srun -n4 -c2 --gpus=4", "srun -n4 -c2 --gpus=4"),
    Way("srun -n8 --gpus=8 -m block:block", "srun -n8 --gpus=8 -m block:block"),
    Way(_BLOCK_LOCAL, _BLOCK_LOCAL),
    Way("srun -n8 --gpus-per-task=1", "srun -n8 --gpus-per-task=1"),
    Way("srun -n8 --gpus-per-task=1 --mem-bind=local", "srun -n8 --gpus-per-task=1 --mem-bind=local"),
    Way("srun -n8 --gpus-per-task=1", "srun -n8 --gpus-per-task=1", NO_CORES, "without Cores= in gres.conf"),
    Way("srun -n8 --gpus=8 --gpu-bind=closest", "srun -n8 --gpus=8 --gpu-bind=closest"),
    Way("srun -n8 --gpus=8 numactl --cpunodebind=N --membind=N", BY_HAND, note="N worked out by hand"),
    Way("srun -n8 --gpus=8 numa-align run", "srun -n8 --gpus=8 numa-align run", note="no plugin"),
    Way("srun --numa-align -n8 --gpus=8", "srun --numa-align -n8 --gpus=8", PLUGIN),
    Way("srun --numa-align -n4 -c2 --gpus=4", "srun --numa-align -n4 -c2 --gpus=4", PLUGIN),
    Way(
        "srun --numa-align -n1 -c8 --gpus=8 torchrun … numa-align run",
        f"srun --numa-align -n1 -c8 --gpus=8 {_workers('numa-align run')}",
        PLUGIN,
    ),
)  # fmt: skip


def torch_ways() -> Iterator[Way]:
    """torchrun's own binding, in its two modes that differ on this machine."""
    for mode in ("node", "exclusive"):
        yield Way(
            f"srun -n1 -c8 --gpus=8 torchrun --numa-binding={mode}",
            f"srun -n1 -c8 --gpus=8 {_workers(f'python3 /opt/torch_numa.py {mode}')}",
        )


def measure(machine: EmulatedMachine, way: Way) -> list[Rank]:
    """Run the probe in this way."""
    if machine.config != way.config:
        machine.configure(way.config)
    command = f"{way.run} {PROBE}"
    if way.run is BY_HAND:
        command = f"srun -n8 --gpus=8 bash -c 'exec {command}'"
    return ranks_of(machine.run(command, user="user", cwd="/tmp", timeout=400, check=True))


def line_of(way: Way, ranks: Sequence[Rank], topology: Hardware) -> str:
    """A row of the table."""
    nodes = {gpu.minor: gpu.node for gpu in topology.gpu_table()}
    uses = [rank.gpus[rank.rank % len(rank.gpus)] for rank in ranks]
    homes = [nodes[gpu] for gpu in uses]
    holders = Counter(cpu for rank in ranks for cpu in rank.cpus)
    near = sum(
        rank.cpus <= frozenset(topology.cpus_of_node(home))
        for rank, home in zip(ranks, homes)
        if home is not None
    )
    alone = sum(all(holders[cpu] == 1 for cpu in rank.cpus) for rank in ranks)
    pages = sum(rank.pages_on(home) >= 0.95 for rank, home in zip(ranks, homes) if home is not None)
    typed = f"`{way.typed}`" + (f", {way.note}" if way.note else "")
    counts = f"{near} | {alone} | {len(set(uses))} | {pages}"
    return f"| {typed} | {len(ranks)} | {counts} | {_policy(ranks, homes)} |"


def _policy(ranks: Iterable[Rank], homes: Iterable[Optional[int]]) -> str:
    """The policies, and on which node they hold memory: that of the GPU or another one."""
    words = Counter(
        rank.mode if not rank.nodes else f"{rank.mode}, {'near' if rank.nodes == (home,) else 'far'}"
        for rank, home in zip(ranks, homes)
    )
    if len(words) == 1:
        return next(iter(words))
    return "; ".join(f"{count} {word}" for word, count in sorted(words.items()))


def main() -> None:
    """Print the table, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--torch-numa", type=Path, metavar="FILE")
    options = parser.parse_args()
    ways = [*WAYS, *(torch_ways() if options.torch_numa else ())]
    print("| command | ranks | CPUs near | cores of their own | GPUs used | pages near | memory policy |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with EmulatedMachine(Hardware(), project=ROOT, config=STOCK) as machine:
        machine.copy_in(PROBE_FILE, "/opt/probe.py")
        machine.copy_in(LAUNCHER, "/opt/launcher.py")
        if options.torch_numa:
            machine.copy_in(options.torch_numa, "/opt/binding.py")
            machine.put({"/opt/torch_numa.py": TORCH_NUMA})
        # The sort is stable: each configuration is brought up once.
        order = [STOCK, NO_CORES, PLUGIN]
        for way in sorted(ways, key=lambda way: order.index(way.config)):
            print(line_of(way, measure(machine, way), machine.topology), flush=True)


if __name__ == "__main__":
    main()
