"""What a launcher starts in these tests: ``said.py VARIABLE`` in the machine, or ``say`` in its programs.

A worker binds once more, as programs do that are started by `numa-align run` and call bind_local_rank() too,
and then the probe says where it is: in a process of its own, which inherits CPUs and memory policy, and into
a file of its own, since launchers do things to their workers' output.
"""

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path("/tmp/said")


def say(number: int, name: str = "worker") -> None:
    """The SLURM_PROCID that the probe sees is the worker's number."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}-{number}").open("w") as file:
        environment = {**os.environ, "SLURM_PROCID": str(number)}
        subprocess.run(["python3", "-S", "-E", "/opt/probe.py"], env=environment, stdout=file, check=True)


if __name__ == "__main__":
    import numa_align

    numa_align.bind_local_rank()
    say(int(os.environ[sys.argv[1]]))
