"""``python3 -m numa_align`` is the command ``numa-align``."""

from .cli import main

main()
