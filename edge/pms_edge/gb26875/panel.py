"""What is known of one fire panel behind a transmission device, as points. No I/O, no clock."""

from collections.abc import Iterable
from typing import NamedTuple

from pms_edge.decode.decoder import BAD, GOOD, NAN, UNCERTAIN, Raw
from pms_edge.gb26875.objects import Component, System

# Bits of the state word of a system (8.2.1.1); a component has the first eight.
SYSTEM_BITS = (
    *("normal", "fire", "fault", "disabled", "supervisory", "started", "feedback", "delay"),
    *("mains_fault", "battery_fault", "bus_fault", "manual", "config_changed", "reset"),
)
BIT = {name: 1 << i for i, name in enumerate(SYSTEM_BITS)}
SHARED = SYSTEM_BITS[1:8]  # those that a component raises for its panel
COUNTED = {
    "fire_n": BIT["fire"],
    "fault_n": BIT["fault"],
    "disabled_n": BIT["disabled"],
    "supervisory_n": BIT["supervisory"],
    "feedback_n": BIT["feedback"],
}
FIRST = ("first_loop", "first_addr", "first_type")
BUILT_IN = (
    *SYSTEM_BITS,
    *COUNTED,
    *FIRST,
    "last_event",
    "utd_state",
    "utd_link",
    "utd_clock_offset_s",
    "heartbeat_age",
    "duty_reply_s",
)
_ABNORMAL = sum(BIT[name] for name in SHARED)
# What a reset of the panel ends; faults, disablements and the mode of operation outlast it.
_LATCHED = sum(BIT[n] for n in ("fire", "supervisory", "started", "feedback", "delay"))
_NEWS = (  # last_event (rules/fire_panel/points.yaml): code when the bit rises, when it falls
    (BIT["fire"], 1, 4),
    (BIT["fault"], 2, 9),
    (BIT["feedback"], 3, 4),
    (BIT["disabled"], 7, 8),
    (BIT["started"], 5, 6),
)
MAX_COMPONENTS = 8192  # more than twice what one panel may serve (GB 4717: 3200 addresses)
# A press of the alarm or of the "all clear" key at the transmission device (8.2.1.9).
OP_RESET, OP_MANUAL_ALARM, OP_ALARM_OVER, OP_DUTY_REPLY = 1, 4, 8, 32
UTD_FIRE, UTD_FAULT = 2, 4

Value = tuple[Raw, int]
UNKNOWN: Value = (NAN, BAD)


class Fire(NamedTuple):
    """The first fire since the last time that there was none."""

    component: Component
    text: str


class Panel:
    """States as reported, in the order of arrival. Nothing is known until something is reported.

    A fire ends when its own component reports so or the panel is reset, never because another
    report does not mention it.
    """

    def __init__(self) -> None:
        self._systems: dict[System, int] = {}
        self._components: dict[Component, int] = {}
        self._known = 0  # bits of which some report has said something that counts as the truth
        self._utd: int | None = None
        self._last_event: int | None = None
        self.first: Fire | None = None
        self.dropped = 0

    def system(self, system: System, bits: int) -> None:
        """A state word of a system: it tells all its bits."""
        if bits & BIT["reset"]:
            self.reset(system)
        if system in self._systems or len(self._systems) < MAX_COMPONENTS:
            self._systems[system] = bits
        self._known |= sum(BIT.values())

    def component(self, component: Component, bits: int, text: str = "") -> None:
        before, now = self._components.get(component, 0), bits & _ABNORMAL
        for bit, rises, falls in _NEWS:
            if (before ^ now) & bit:
                self._last_event = rises if now & bit else falls
                self._known |= bit
        self._known |= (before | now) & _ABNORMAL
        if now & BIT["fire"] and not self._count(BIT["fire"]):
            self.first = Fire(component, text)
        self._components.pop(component, None)
        if now:
            self._make_room()
            self._components[component] = now

    def device(self, bits: int) -> None:
        """State byte of the transmission device; it tells of fire and fault as well."""
        self._utd = bits
        self._known |= BIT["fire"] | BIT["fault"]

    def reset(self, system: System | None = None) -> None:
        """The panel was reset: what it latched is over, unless it is reported again."""
        for component, bits in list(self._components.items()):
            if system is None or component.system == system:
                self.component(component, bits & ~_LATCHED)
        for other, bits in self._systems.items():
            if system is None or other == system:
                self._systems[other] = bits & ~_LATCHED
        self._known |= _LATCHED

    def forget(self) -> None:
        """The link was lost for long: what is held may be over, or there may be more."""
        self._known = 0
        self._utd = None

    def values(self) -> dict[str, Value]:
        """Every point of the panel's state, with its quality; bad where nothing is known."""
        bits = 0
        for word in (*self._systems.values(), *self._components.values()):
            bits |= word & ~BIT["normal"]
        if self._utd is not None:
            bits |= self._utd & (UTD_FIRE | UTD_FAULT)
        points = {name: self._bit(name, bits) for name in SYSTEM_BITS}
        points["normal"] = self._normal()
        points |= {name: self._counted(bit, bits) for name, bit in COUNTED.items()}
        points |= dict(zip(FIRST, self._first(), strict=True))
        points["last_event"] = _value(self._last_event)
        points["utd_state"] = _value(self._utd)
        return points

    def _bit(self, name: str, bits: int) -> Value:
        bit = BIT[name]
        return (int(bool(bits & bit)), GOOD) if (bits | self._known) & bit else UNKNOWN

    def _normal(self) -> Value:
        words = self._systems.values()
        return (int(all(w & BIT["normal"] for w in words)), GOOD) if words else UNKNOWN

    def _counted(self, bit: int, bits: int) -> Value:
        """Uncertain when more may stand than was reported since the start."""
        count = self._count(bit)
        if not count and not (bits | self._known) & bit:
            return UNKNOWN
        sure = self._known & bit and (count or not bits & bit)
        return count, GOOD if sure else UNCERTAIN

    def _count(self, bit: int) -> int:
        return sum(1 for bits in self._components.values() if bits & bit)

    def _first(self) -> Iterable[Value]:
        if self.first is None:
            return UNKNOWN, UNKNOWN, UNKNOWN
        component = self.first.component
        zone = (component.zone, GOOD if component.zone <= 255 else UNCERTAIN)  # range of first_loop
        return zone, (component.point, GOOD), (component.type, GOOD)

    def _make_room(self) -> None:
        """Drops the oldest component that does not report fire, when there are too many."""
        if len(self._components) < MAX_COMPONENTS:
            return
        items = self._components.items()
        quiet = next((c for c, bits in items if not bits & BIT["fire"]), None)
        oldest = next(iter(self._components)) if quiet is None else quiet
        del self._components[oldest]
        self.dropped += 1


def _value(number: int | None) -> Value:
    return UNKNOWN if number is None else (number, GOOD)
