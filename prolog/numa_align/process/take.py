"""Takes memory, all pages of it, as fast as possible. Stdlib only."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import threading

_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of linux/mman.h, Linux 5.14
_THREADS = 4  # for a second at most, and other jobs want their CPUs


def taken(size: int) -> mmap.mmap:
    """Memory whose pages are private and all present.

    By several threads, since one clears and reclaims 2 GiB per second. In small pages: for a huge one the
    kernel may first move what others have on the node (direct compaction), which can take longer than all
    else. Each thread has its creator's policy (copy_process of kernel/fork.c).
    """
    area = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        area.madvise(mmap.MADV_NOHUGEPAGE)
    part = -(-size // _THREADS // mmap.PAGESIZE) * mmap.PAGESIZE
    starts = range(0, size, part)
    # The address space is locked while one of them touches memory, so that no other could get its stack.
    all_there = threading.Barrier(len(starts))

    def touch(start: int) -> None:
        all_there.wait()
        _touch(area, start, min(part, size - start))

    threads = [threading.Thread(target=touch, args=(start,)) for start in starts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return area


def _touch(area: mmap.mmap, start: int, size: int) -> None:
    """Populate through ctypes, which lets other threads run at the same time; mmap.madvise() does not."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(area)) + start
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    if madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), _POPULATE_WRITE) != 0:
        # An older kernel: write a byte to each page.
        area[start : start + size : mmap.PAGESIZE] = bytes(-(-size // mmap.PAGESIZE))
