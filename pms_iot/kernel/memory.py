"""How the process asks the system for memory."""

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # of mallopt(3), glibc


def share_arenas() -> None:
    """Call before threads start. By default glibc gives every thread room of its own, and what one has freed
    the others do not use: columns come and go in several threads, which cost the engine 50 MB."""
    with suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
