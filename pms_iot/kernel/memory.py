"""How the process asks the system for memory."""

import ctypes
import gc
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


def settle() -> None:
    """Call when what stays has been built: what building took goes back, and what was built is not
    looked through for garbage any more, which would stop all threads for as long as it takes."""
    gc.collect()
    gc.freeze()
    with suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
