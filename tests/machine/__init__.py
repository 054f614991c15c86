"""A QEMU machine with NUMA nodes, fake GPUs and real Slurm, on which to try the project.

from machine import EmulatedMachine, Hardware, SlurmConfig

with EmulatedMachine(Hardware(packages=2, gpus=(0, 0, 1, 1)), project=Path(".")) as machine:
    print(machine.run("srun -n4 --gpus=4 hostname", user="user", check=True).stdout)
"""

from .cluster import Cluster
from .guest import CommandError, CommandTimeoutError, Result, Running
from .hardware import Gpu, Hardware, Nic
from .image import RELEASES, ImageError
from .layer import LAUNCHERS, RDMA, Layer
from .machine import EmulatedMachine
from .qemu import QemuError
from .slurm import SlurmConfig

#: Scripts outside of this repository know them by these names.
Machine, Topology = EmulatedMachine, Hardware

__all__ = [
    "LAUNCHERS",
    "RDMA",
    "RELEASES",
    "Cluster",
    "CommandError",
    "CommandTimeoutError",
    "EmulatedMachine",
    "Gpu",
    "Hardware",
    "ImageError",
    "Layer",
    "Machine",
    "Nic",
    "QemuError",
    "Result",
    "Running",
    "SlurmConfig",
    "Topology",
]
