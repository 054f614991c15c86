"""How long ``numa-align conf`` takes for a big cluster: 10,000 nodes of five kinds.

python tests/bench/conf.py [NODES]
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from numa_align.topology.as_json import to_json

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from builder import Machine, on_nodes

KINDS = (
    Machine(
        packages=2, cores=64, smt=2, gpus=on_nodes(0, 0, 0, 0, 1, 1, 1, 1, model="NVIDIA H100 80GB HBM3")
    ),
    Machine(
        packages=2,
        nodes=4,
        cores=16,
        smt=2,
        gpus=on_nodes(3, 3, 1, 1, 7, 7, 5, 5, model="NVIDIA A100-SXM4-80GB"),
    ),
    Machine(packages=1, cores=64, smt=2, gpus=on_nodes(0, 0, 0, 0, model="NVIDIA L40S")),
    Machine(packages=2, cores=72, gpus=on_nodes(0, 1, model="NVIDIA GH200 480GB")),
    Machine(packages=2, nodes=4, cores=24, smt=2),
)


def write_facts(folder: Path, nodes: int) -> int:
    """Write one file per node, with its own UUIDs and sizes of memory; returns their total size in bytes."""
    texts = [to_json(machine.topology(), "NAME") for machine in KINDS]
    size = 0
    for number in range(nodes):
        text = texts[number % len(texts)].replace('"NAME"', f'"n{number:05d}"')
        parts = text.split('"uuid": null')
        text = parts[0] + "".join(f'"uuid": "GPU-{number:08x}-{i}"{part}' for i, part in enumerate(parts[1:]))
        text = text.replace(str(64 << 30), str((64 << 30) - (number % 97 << 20)))
        size += len(text)
        (folder / f"n{number:05d}.json").write_text(text)
    return size


def main() -> None:
    """Print one line: nodes, bytes, wall and CPU seconds, lines written."""
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        size = write_facts(Path(folder), nodes)
        command = [
            sys.executable,
            "-m",
            "numa_align",
            "conf",
            "all",
            "--facts",
            folder,
            "--slurm-version",
            "24.11",
        ]
        begin = time.monotonic()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.monotonic() - begin
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = sum(line.startswith("NodeName=") for line in done.stdout.splitlines())
    cpu = usage.ru_utime + usage.ru_stime
    print(
        f"{nodes} nodes, {size / 1e6:.0f} MB of facts: {seconds:.2f} s, {cpu:.2f} s of CPU time, {lines} "
        "NodeName lines"
    )


if __name__ == "__main__":
    main()
