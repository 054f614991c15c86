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

FEATURES, HIDDEN, CLASSES = 512, 16, 8
STRIPE = FEATURES // CLASSES
CHUNK, BATCH = 512, 16  # a chunk: 1 MiB of float32 samples; one step per chunk

Array = npt.NDArray[Any]


def load_chunks(chunks: int, seed: int, pipe: Connection) -> None:
    """The loader's process: makes and sends 8-bit samples, like a worker of a DataLoader."""
    random = np.random.default_rng(seed)
    for _ in range(chunks):
        samples = random.integers(0, 256, (CHUNK, FEATURES), dtype=np.uint8)
        labels = random.integers(0, CLASSES, CHUNK)
        for label in range(CLASSES):  # each class is bright in a stripe of its own
            samples[labels == label, label * STRIPE : (label + 1) * STRIPE] |= 128
        pipe.send((samples, labels))
    pipe.close()


class Network:
    """Two dense layers with ReLU, trained by plain gradient descent."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.first = random.standard_normal((FEATURES, HIDDEN), dtype=np.float32) / np.float32(FEATURES**0.5)
        self.second = random.standard_normal((HIDDEN, CLASSES), dtype=np.float32) / np.float32(HIDDEN**0.5)

    def step(self, samples: Array, labels: Array, rate: float = 0.3) -> float:
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


def train(chunks: int, seed: int) -> tuple[list[float], Array]:
    """Train on chunks from the loader; returns the losses and the samples kept (1 MiB per chunk)."""
    receive, send = multiprocessing.Pipe(duplex=False)
    loader = multiprocessing.Process(target=load_chunks, args=(chunks, seed, send), daemon=True)
    loader.start()
    send.close()
    random = np.random.default_rng(seed)
    network = Network(seed)
    kept = np.zeros((chunks, CHUNK, FEATURES), dtype=np.float32)
    losses = []
    for number in range(chunks):
        samples, labels = receive.recv()
        np.multiply(samples, np.float32(1 / 255), out=kept[number])
        rows = random.integers(0, CHUNK, BATCH)
        losses.append(network.step(kept[number][rows] - np.float32(0.5), labels[rows]))
    loader.join()
    return losses, kept


def main() -> int:
    """Train, print the loss and, if asked, what the kernel says of this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", type=int, default=24, help="chunks to train on (1 MiB each)")
    parser.add_argument("--report", action="store_true", help="end with `numa-align check` of this process")
    parser.add_argument("--json", action="store_true", help="with --report: as JSON")
    options = parser.parse_args()
    rank = int(os.environ.get("SLURM_PROCID", "0"))
    losses, kept = train(options.chunks, seed=rank)
    first, last = float(np.mean(losses[:6])), float(np.mean(losses[-6:]))
    if not last < first:
        print(f"rank {rank}: the loss did not fall ({first:.3f} -> {last:.3f})", file=sys.stderr)
        return 3
    if options.report:
        command = ["numa-align", "check", "--pid", str(os.getpid()), *(["--json"] if options.json else [])]
        subprocess.run(command, check=False)
    else:
        print(f"rank {rank}: loss {first:.3f} -> {last:.3f}, {kept.nbytes >> 20} MiB kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
