"""What one peer of the listener may take."""

from typing import NamedTuple


class Limits(NamedTuple):
    connections: int = 256
    per_host: int = 64  # devices behind one router share its address
    silent_s: float = 300.0  # without a valid frame of a known device
    stranger_s: float = 30.0  # before the first of these
    gap_s: float = 1.0  # within a frame
    frame_s: float = 10.0  # for a whole frame
    garbage_bytes: int = 65536  # since the last valid frame
    unread_bytes: int = 16384  # of ours that the peer has not taken
    datagrams: int = 256  # waiting; more are dropped, as UDP may
