"""Freed memory, kept for the next array."""

import ctypes
import sys

# Source: glibc malloc.h, parameters of mallopt.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_MOST = 2**31 - 1


def keep_memory() -> bool:
    """Has this process keep what it frees; returns whether that could be said.

    glibc gives arrays past 32 MB back as they are freed and has the system map new
    pages for the next: at batch 64 of 144x56x56 that is two thirds of the time. Threads
    share one arena, for others cannot grow so large. The process stays as large as it
    ever was, so that this is for a process of jaxdw's own, as the command and a sweep's
    workers; call it before JAX starts its threads.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another libc
        return False
    asked = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _MOST), (_ARENA_MAX, 1))
    return all([mallopt(*one) == 1 for one in asked])
