"""Real Slurm on this very host, in namespaces of its own: no placement to be seen, but twenty times faster.

from native import Native

with Native(project=Path("."), gpus=8) as native:
    print(native.run("srun -n8 -O --gpus=8 hostname", user="user", check=True).stdout)
"""

from .native import Native, NativeError, why_not

__all__ = ["Native", "NativeError", "why_not"]
