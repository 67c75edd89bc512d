"""Freed memory, kept for the next array."""

import ctypes
import functools
import gc
import os
import sys
from collections.abc import Callable

from jaxdw.errors import ConfigError

# Source: glibc malloc.h, parameters of mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8
SOME, MOST = 2**26, 2**31 - 1  # bytes kept at the end of the heap: 64 MB, 2 GB
_OPTIONS = {
    SOME: ((_TRIM_THRESHOLD, SOME), (_MMAP_THRESHOLD, 2**25)),
    MOST: ((_TRIM_THRESHOLD, MOST), (_MMAP_MAX, 0), (_ARENA_MAX, 1)),
}


class _Heap:
    kept = 0


def keep_memory(most: int = MOST) -> bool:
    """Has this process keep what it frees; returns whether it will.

    glibc gives memory at the end of the heap back, and has the system map new pages for
    the next array: up to a fifth of the time of a layer of 2 MB. With `SOME` it keeps
    64 MB of it.

    It gives arrays past 32 MB back as they are freed, smaller ones of other threads
    too: at batch 64 of 144x56x56 that is two thirds of the time. With `MOST` it keeps
    them all, at most 2 GB. Threads that start later share one arena; what an earlier
    one allocates past 64 MB is mapped anew all the same.

    What was asked before stays if it is more. `JAXDW_KEEP_MEMORY=0` in the environment
    leaves glibc as it is.

    Args:
      most: `SOME` or `MOST`.

    Raises:
      ConfigError: another value there.
    """
    if most <= _Heap.kept:
        return True
    mallopt = _mallopt()
    if mallopt is None or not all([mallopt(*one) == 1 for one in _OPTIONS[most]]):
        return False
    _Heap.kept = most
    return True


@functools.cache
def _mallopt() -> Callable[[int, int], int] | None:
    """Returns glibc's `mallopt`, None if it is to be left alone or another libc."""
    asked = os.environ.get("JAXDW_KEEP_MEMORY") or "1"
    if asked not in ("0", "1"):
        raise ConfigError(
            f"`JAXDW_KEEP_MEMORY` (={asked!r}) must be 1 to keep large arrays' memory "
            "for the next, 0 to give it back; unset it"
        )
    if asked == "0" or not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return None


def collect_rarely() -> None:
    """Has Python look for garbage in cycles 300 times less often.

    What imports and traces make stays, and is looked through again and again: a tenth
    of the time of a short command. For a process of jaxdw's own.
    """
    gc.set_threshold(200_000, 20, 20)
