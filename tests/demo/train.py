"""A small training run: two-layer network, synthetic data, a loader with its own process.

    srun --numa-align python3 train.py [--report]

It is written as training programs are: it knows nothing of NUMA. With ``--report`` every rank
ends by asking ``numa-align check`` about itself, while its memory is still there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

FEATURES, HIDDEN, CLASSES = 512, 128, 10
SAMPLES, BATCH = 4096, 256  # 8 MiB of float32 samples

Array = npt.NDArray[Any]


def load_batches(batches: int, seed: int, pipe: Connection) -> None:
    """The loader's process: shuffles, cuts and sends batches, like a worker of a DataLoader."""
    random = np.random.default_rng(seed)
    samples = random.random((SAMPLES, FEATURES), dtype=np.float32) - np.float32(0.5)
    labels = (samples[:, :CLASSES].argmax(axis=1)).astype(np.int64)
    for _ in range(batches):
        rows = random.integers(0, SAMPLES, BATCH)
        pipe.send((samples[rows], labels[rows]))
    pipe.close()


class Network:
    """Two dense layers with ReLU, trained by plain gradient descent."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.first = random.standard_normal((FEATURES, HIDDEN), dtype=np.float32) / np.float32(FEATURES**0.5)
        self.second = random.standard_normal((HIDDEN, CLASSES), dtype=np.float32) / np.float32(HIDDEN**0.5)

    def step(self, samples: Array, labels: Array, rate: float = 1.0) -> float:
        """One step of gradient descent; returns the loss before it."""
        hidden = np.maximum(samples @ self.first, 0)
        scores = hidden @ self.second
        scores -= scores.max(axis=1, keepdims=True)
        odds = np.exp(scores)
        odds /= odds.sum(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        loss = float(-np.log(odds[rows, labels] + 1e-9).mean())
        odds[rows, labels] -= 1
        odds /= len(labels)
        back = (odds @ self.second.T) * (hidden > 0)
        self.second -= rate * hidden.T @ odds
        self.first -= rate * samples.T @ back
        return loss


def train(batches: int, seed: int) -> tuple[list[float], Array]:
    """Train on batches from the loader; returns the losses and the cache of what was seen (tens of MiB)."""
    receive, send = multiprocessing.Pipe(duplex=False)
    loader = multiprocessing.Process(target=load_batches, args=(batches, seed, send), daemon=True)
    loader.start()
    send.close()
    network = Network(seed)
    seen = np.zeros((batches, BATCH, FEATURES), dtype=np.float32)
    losses = []
    for number in range(batches):
        samples, labels = receive.recv()
        seen[number] = samples
        losses.append(network.step(samples, labels))
    loader.join()
    return losses, seen


def main() -> int:
    """Train, print the loss and, if asked, what the kernel says of this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, default=40, help="batches to train on (0.5 MiB each)")
    parser.add_argument("--report", action="store_true", help="end with `numa-align check` of this process")
    parser.add_argument("--json", action="store_true", help="with --report: as JSON")
    options = parser.parse_args()
    rank = int(os.environ.get("SLURM_PROCID", "0"))
    losses, seen = train(options.batches, seed=rank)
    if not losses[-1] < losses[0]:
        print(f"rank {rank}: the loss did not fall ({losses[0]:.3f} -> {losses[-1]:.3f})", file=sys.stderr)
        return 3
    if options.report:
        command = ["numa-align", "check", "--pid", str(os.getpid()), *(["--json"] if options.json else [])]
        subprocess.run(command, check=False)
    else:
        print(f"rank {rank}: loss {losses[0]:.3f} -> {losses[-1]:.3f}, {seen.nbytes >> 20} MiB kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
