"""Why a request got no usable answer."""

from typing import Literal

ILLEGAL_ADDRESS = 2
# 10 and 11: a gateway saying that the unit behind it did not answer.
GATEWAY_CODES = frozenset({10, 11})

Cause = Literal[
    "timeout",  # nothing came in time
    "crc",  # the check sum is wrong
    "length",  # fewer or more bytes than were asked for
    "unit",  # another unit answered
    "function",  # the answer belongs to another function code
    "echo",  # a write was confirmed with another address or value
    "frame",  # the header is not Modbus TCP
    "gateway",  # exception 10 or 11: the gateway did not reach the unit
    "noise",  # a serial line that never falls quiet
    "connect",  # the connection or port cannot be opened
    "busy",  # the serial port is held by another process
    "lost",  # the connection was closed or the adapter pulled out in mid-request
]


class NoReplyError(Exception):
    """No usable answer, because of `cause`; whatever did come was thrown away."""

    def __init__(self, what: str, cause: Cause = "timeout") -> None:
        self.cause: Cause = cause
        super().__init__(what)


class RefusedError(Exception):
    """The unit answered with a Modbus exception `code`."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"Modbus exception {code}")
