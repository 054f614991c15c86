"""Starts workers of one task as torchrun does: ``launcher.py COUNT COMMAND…``.

Like the probe it shares no code with the project. SLURM_PROCID is set too, by which the probe's lines are
put in order.
"""

import os
import subprocess
import sys

count = int(sys.argv[1])
workers = []
for rank in range(count):
    own = {"LOCAL_RANK": rank, "RANK": rank, "LOCAL_WORLD_SIZE": count, "WORLD_SIZE": count}
    environment = {**os.environ, **{name: str(value) for name, value in own.items()}}
    workers.append(subprocess.Popen(sys.argv[2:], env={**environment, "SLURM_PROCID": str(rank)}))
sys.exit(max(worker.wait() for worker in workers))
