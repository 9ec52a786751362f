"""Memory for O_DIRECT: page-aligned, and in huge pages where the system has them.

The kernel hands a transfer to the disk as runs of adjacent memory. In pages of 4 KiB that are scattered a transfer of
1 MiB takes hundreds of runs, more than one request may have; in a huge page it takes one.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import threading

__all__ = ["aligned_memory"]

HUGE_PAGE = 2 << 20  # bytes, on x86 and arm64 with pages of 4 KiB
ALIGNMENT = 4096

_lock = threading.Lock()
_rest = memoryview(b"")  # of the last huge page


def aligned_memory(size: int) -> memoryview:
    """``size`` bytes, writable, that begin at a multiple of 4096. They are freed with the last view of them.

    Buffers share huge pages, so small ones cost no more than they hold.
    """
    global _rest
    step = -(-size // ALIGNMENT) * ALIGNMENT
    with _lock:
        if len(_rest) < step:
            _rest = _allocate(step)
        found, _rest = _rest[:size], _rest[step:]
    return found


def _allocate(size: int) -> memoryview:
    """Whole huge pages, at their multiples: what is mapped around them is never touched and costs nothing."""
    whole = -(-size // HUGE_PAGE) * HUGE_PAGE
    area = mmap.mmap(-1, whole + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError, AttributeError):
        area.madvise(mmap.MADV_HUGEPAGE)
    skip = -ctypes.addressof(ctypes.c_char.from_buffer(area)) % HUGE_PAGE
    return memoryview(area)[skip : skip + whole]
