"""What the centre sends. Nothing here changes a panel: such commands are refused."""

from datetime import datetime

from pms_edge.gb26875.frames import (
    CONFIRM,
    CONTROL_COMMAND,
    DENY,
    REQUEST,
    Frame,
)
from pms_edge.gb26875.objects import System, time_bytes

SYNC_CLOCK, CHECK_DUTY = 90, 91
READ_SYSTEM_STATE, READ_DEVICE_STATE = 61, 81
# The centre may set a device's clock and ask whether somebody is there. 89 would wipe the device.
_CONTROLS = frozenset({SYNC_CLOCK, CHECK_DUTY})
_READS = frozenset({*range(61, 69), 81, 84, 85, 86, 88})


class RefusedCommandError(ValueError):
    """A command that would change a fire panel or its transmission device."""


def control(serial: int, data: bytes, *, centre: str, device: str, now: datetime) -> Frame:
    """A control command. Raises RefusedCommandError for all but clock and duty check."""
    if data[:1] not in {bytes([kind]) for kind in _CONTROLS}:
        raise RefusedCommandError(f"type {data[:1].hex()} is not sent to fire panels")
    return Frame(serial, time_bytes(now), centre, device, CONTROL_COMMAND, data)


def request(serial: int, data: bytes, *, centre: str, device: str, now: datetime) -> Frame:
    """A read request. Raises RefusedCommandError when `data` is not one."""
    if data[:1] not in {bytes([kind]) for kind in _READS}:
        raise RefusedCommandError(f"type {data[:1].hex()} is no read request")
    return Frame(serial, time_bytes(now), centre, device, REQUEST, data)


def clock_data(now: datetime) -> bytes:
    """Set the device's clock (type 90)."""
    return bytes((SYNC_CLOCK, 1)) + time_bytes(now)


def duty_data() -> bytes:
    """Duty check, 查岗 (type 91)."""
    return bytes((CHECK_DUTY, 1, 0))


def device_state_data() -> bytes:
    return bytes((READ_DEVICE_STATE, 1, 0))


def system_state_data(systems: tuple[System, ...]) -> bytes:
    pairs = b"".join(bytes(system) for system in systems)
    return bytes((READ_SYSTEM_STATE, len(systems))) + pairs


def confirm(frame: Frame, now: datetime) -> Frame:
    """Acknowledges `frame` with its own serial."""
    return _reply(frame, CONFIRM, now)


def deny(frame: Frame, now: datetime) -> Frame:
    """Refuses `frame`: its check failed, or its source is not known here."""
    return _reply(frame, DENY, now)


def _reply(frame: Frame, command: int, now: datetime) -> Frame:
    return Frame(
        frame.serial,
        time_bytes(now),
        frame.target,
        frame.source,
        command,
        version=frame.version,
    )
