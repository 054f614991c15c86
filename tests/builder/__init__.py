"""Machines for tests: a line or two of Python becomes a sysfs and procfs tree.

>>> machine = Machine(packages=2, nodes=4, cores=8, smt=2, gpus=on_nodes(3, 1, 7, 5))
>>> root = machine.write(tmp_path)
>>> assert read_at(root) == machine.topology()

`Machine.topology` says what a correct reader must find; it is computed from the description, not
from the tree. Oddities of real machines are fields of `Machine` and `Device`.
"""

import os

from .cards import Card, NvmeDisk
from .machine import Device, ExtraNode, Machine, on_nodes

#: A folder in memory for tests that make hundreds of machines; None if the host has none.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

__all__ = ["MEMORY", "Card", "Device", "ExtraNode", "Machine", "NvmeDisk", "on_nodes"]
