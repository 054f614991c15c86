"""Takes memory of the nodes to which this thread is bound, and holds it. Stdlib only.

Files in memory (memfd_create(2)) that nothing maps: fallocate(2) takes their pages without clearing them and
without a page fault for each (mm/shmem.c, shmem_fallocate()), three times as fast as touching memory
(docs/measurements.md). Pages are small ones, as for a huge one the kernel may first move what others have on
the node.
"""

from __future__ import annotations

import os
import threading

#: For a second at most, and other jobs want their CPUs.
_THREADS = 2


class Taken:
    """Memory that is taken piece by piece, and given back when the process ends or by ``close``."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.size = 0
        # A file each, since the kernel lets only one thread at a time extend a file.
        self._files = tuple(os.memfd_create("numa-align-room") for _ in range(_THREADS))
        self._failed: list[OSError] = []

    def take(self, size: int) -> None:
        """So many bytes more, rounded down to whole pages. Raises OSError.

        Each thread has its creator's memory policy (copy_process() in kernel/fork.c).
        """
        part = size // _THREADS // os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PAGE_SIZE")
        threads = [threading.Thread(target=self._extend, args=(file, part)) for file in self._files]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failed:
            raise self._failed[0]
        self.size += part * _THREADS

    def close(self) -> None:
        """Give all of it back."""
        for file in self._files:
            os.close(file)

    def _extend(self, file: int, size: int) -> None:
        try:
            os.posix_fallocate(file, self.size // _THREADS, size)
        except OSError as error:
            self._failed.append(error)
