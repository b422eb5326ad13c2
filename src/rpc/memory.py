"""How a server process handles its memory: it keeps what it will need again, and does not look at what stays."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_KEPT_BYTES = 256 * 1024 * 1024
_STEP_BYTES = 16 * 1024 * 1024
_OWN_MAPPING_BYTES = 32 * 1024 * 1024  # the most that glibc allows
_YOUNG = 20_000


def keep_freed_memory() -> None:
    """Let the allocator keep what is freed (glibc only; elsewhere nothing happens).

    By default glibc gives great blocks back to the kernel at once, and the next request of that size pays for every
    page again: page faults were a third of what a request of 600 KB cost.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TOP_PAD, _STEP_BYTES)


def settle() -> None:
    """Call once when everything that stays has been made: garbage collection then looks at what is new only."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)


def resident_bytes() -> int:
    """What this process holds of the host's memory, in whole MiB so that it is seldom news; 0: not known."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") & -(1024 * 1024)
