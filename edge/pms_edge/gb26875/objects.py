"""Application data of GB/T 26875.3-2011 (clause 8): what a transmission device reports."""

import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

# The standard has no zone; devices show the legal time of China.
CHINA = timezone(timedelta(hours=8))
TIME_BYTES = 6
TEXT_BYTES = 31


class DataError(ValueError):
    """Application data that ends too early; `kind` is counted."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(kind)


class System(NamedTuple):
    """A fire protection system: type by table 6, address 0-255."""

    type: int
    address: int


class Component(NamedTuple):
    """A component: type by table 7, zone (区号, mostly the loop) and point (位号)."""

    system: System
    type: int
    zone: int
    point: int


class SystemState(NamedTuple):
    system: System
    bits: int
    at: datetime | None


class ComponentState(NamedTuple):
    component: Component
    bits: int
    text: str
    at: datetime | None


class Analog(NamedTuple):
    """`kind` and the unit of `value` by table 8, e.g. 5: kPa."""

    component: Component
    kind: int
    value: float
    at: datetime | None


class Operation(NamedTuple):
    """Something done at the panel, or at the transmission device when `system` is None."""

    system: System | None
    bits: int
    operator: int
    at: datetime | None


class SoftwareVersion(NamedTuple):
    system: System | None
    major: int
    minor: int


class Configuration(NamedTuple):
    """Text about a system, a component, or the transmission device (None)."""

    of: System | Component | None
    text: str


class ClockReading(NamedTuple):
    """The clock of a system, or of the transmission device (None)."""

    system: System | None
    at: datetime | None


class DeviceState(NamedTuple):
    """State byte of the transmission device itself (8.2.1.8)."""

    bits: int
    at: datetime | None


Report = (
    SystemState
    | ComponentState
    | Analog
    | Operation
    | SoftwareVersion
    | Configuration
    | ClockReading
    | DeviceState
)


class AppData(NamedTuple):
    """`reports` is empty for a type that is not known; `bad_times` were no dates."""

    type: int
    known: bool
    reports: tuple[Report, ...]
    bad_times: int
    trailing: int


# Smallest unit of each kind of analog value (table 8) in its engineering unit.
ANALOG_STEP = {
    1: 1.0,  # count
    2: 0.01,  # m
    3: 0.1,  # degrees C
    4: 0.1,  # MPa
    5: 0.1,  # kPa
    6: 0.1,  # % LEL
    7: 1.0,  # s
    8: 0.1,  # V
    9: 0.1,  # A
    10: 0.1,  # L/s
    11: 0.1,  # m3/min
    12: 1.0,  # m/s
}


class _Reader:
    """Takes values off the front of the data."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self.bad_times = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if self.left < count:
            raise DataError("truncated")
        self._at += count
        return self._data[self._at - count : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def word(self) -> int:
        return int.from_bytes(self.take(2), "little")

    def text(self, length: int) -> str:
        return text_of(self.take(length))

    def time(self) -> datetime | None:
        at = time_of(self.take(TIME_BYTES))
        self.bad_times += at is None
        return at

    def system(self) -> System:
        return System(self.byte(), self.byte())

    def component(self) -> Component:
        return Component(self.system(), self.byte(), self.word(), self.word())


def _analog(r: _Reader) -> Analog:
    component, kind = r.component(), r.byte()
    (raw,) = struct.unpack("<h", r.take(2))
    return Analog(component, kind, scaled(raw, ANALOG_STEP.get(kind, 1.0)), r.time())


_READ: dict[int, Callable[[_Reader], Report]] = {
    1: lambda r: SystemState(r.system(), r.word(), r.time()),
    2: lambda r: ComponentState(r.component(), r.word(), r.text(TEXT_BYTES), r.time()),
    3: _analog,
    4: lambda r: Operation(r.system(), r.byte(), r.byte(), r.time()),
    5: lambda r: SoftwareVersion(r.system(), r.byte(), r.byte()),
    6: lambda r: Configuration(r.system(), r.text(r.byte())),
    7: lambda r: Configuration(r.component(), r.text(TEXT_BYTES)),
    8: lambda r: ClockReading(r.system(), r.time()),
    21: lambda r: DeviceState(r.byte(), r.time()),
    24: lambda r: Operation(None, r.byte(), r.byte(), r.time()),
    25: lambda r: SoftwareVersion(None, r.byte(), r.byte()),
    26: lambda r: Configuration(None, r.text(r.byte())),
    28: lambda r: ClockReading(None, r.time()),
}


def decode(data: bytes) -> AppData:
    """The reports in the application data of a `send` or `answer` frame.

    Raises DataError when fewer objects are there than it says; more bytes are let pass, as devices
    pad. Types that are reserved or the user's own are well-formed but not known.
    """
    reader = _Reader(data)
    kind, count = reader.byte(), reader.byte()
    read = _READ.get(kind)
    if read is None:
        return AppData(kind, False, (), 0, reader.left)
    reports = tuple(_each(read, reader, count))
    return AppData(kind, True, reports, reader.bad_times, reader.left)


def _each(read: Callable[[_Reader], Report], reader: _Reader, count: int) -> Iterator[Report]:
    for _ in range(count):
        yield read(reader)


def scaled(raw: int, step: float) -> float:
    """`raw` steps, without the noise of multiplying by 0.1."""
    return raw / round(1 / step)


def text_of(raw: bytes) -> str:
    """GB 18030 text up to its padding; bytes that are no characters become U+FFFD."""
    text = raw.split(b"\0")[0].decode("gb18030", "replace").strip()
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def time_of(raw: bytes) -> datetime | None:
    """Second, minute, hour, day, month, year - 2000 (8.2.2) as UTC; None when that is no date."""
    second, minute, hour, day, month, year = raw
    if year > 99:
        return None
    try:
        local = datetime(2000 + year, month, day, hour, minute, second, tzinfo=CHINA)
    except ValueError:
        return None
    return local.astimezone(UTC)


def time_bytes(at: datetime) -> bytes:
    """The inverse of `time_of`, for an aware `at` of this century."""
    local = at.astimezone(CHINA)
    return bytes((local.second, local.minute, local.hour, local.day, local.month, local.year % 100))
