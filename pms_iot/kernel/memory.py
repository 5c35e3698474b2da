"""How the process asks the system for memory."""

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of mallopt(3), glibc
_LARGE = 1 << 20


def keep_small() -> None:
    """Call before threads start: what columns took goes back when they are gone.

    By default glibc gives every thread room of its own, and soon keeps what large arrays have freed for
    the next ones; with columns that come and go in several threads that cost the engine 100 MB.
    """
    with suppress(AttributeError, OSError):  # not glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 2)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
