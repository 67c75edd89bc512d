"""Freed memory, kept for the next array."""

import ctypes
import functools
import gc
import os
import sys

from jaxdw.errors import ConfigError

# Source: glibc malloc.h, parameters of mallopt.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_MOST = 2**31 - 1


@functools.cache
def keep_memory() -> bool:
    """Has this process keep what it frees; returns whether it will.

    glibc gives arrays past 32 MB back as they are freed, smaller ones of other threads
    too, and has the system map new pages for the next: at batch 64 of 144x56x56 that is
    two thirds of the time. Kept are at most 2 GB at the end of the heap. Threads that
    start later share one arena; what an earlier one allocates past 64 MB is mapped anew
    all the same.
    `JAXDW_KEEP_MEMORY=0` in the environment leaves glibc as it is.

    Raises:
      ConfigError: another value there.
    """
    asked = os.environ.get("JAXDW_KEEP_MEMORY") or "1"
    if asked not in ("0", "1"):
        raise ConfigError(
            f"`JAXDW_KEEP_MEMORY` (={asked!r}) must be 1 to keep large arrays' memory "
            "for the next, 0 to give it back; unset it"
        )
    if asked == "0" or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another libc
        return False
    options = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _MOST), (_ARENA_MAX, 1))
    return all([mallopt(*one) == 1 for one in options])


def collect_rarely() -> None:
    """Has Python look for garbage in cycles 300 times less often.

    What imports and traces make stays, and is looked through again and again: a tenth
    of the time of a short command. For a process of jaxdw's own.
    """
    gc.set_threshold(200_000, 20, 20)
