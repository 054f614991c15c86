"""Bind the tasks of a Slurm step to the CPUs and the memory nearest to their GPUs.

The way of the data, one module a stop::

    GPU -> topology (topology, gpus, locality) -> table -> claim -> task

Importing this package imports nothing else: the job prolog starts it on every
node of every job and must be gone in a few tens of milliseconds.
"""

__version__ = "0.1.0"
