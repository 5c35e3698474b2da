"""Operating states: the one table of codes, and what a rule pack says of when each holds."""

from collections.abc import Mapping
from dataclasses import dataclass

from pms_iot.assets.points import PointDef
from pms_iot.kernel.text import Text
from pms_iot.telemetry.condition import Gate

UNKNOWN, OFF, STARTING, RUNNING, TRAVELLING, DOOR_MOVING, TEST, INSPECTION = range(8)

STATES: Mapping[int, Text] = {
    UNKNOWN: Text("未知", "Unknown"),
    OFF: Text("停止", "At rest"),
    STARTING: Text("启动中", "Starting"),
    RUNNING: Text("运行", "Running"),
    TRAVELLING: Text("行驶", "Travelling"),
    DOOR_MOVING: Text("门动作", "Door moving"),
    TEST: Text("测试", "Test mode"),
    INSPECTION: Text("检修", "Inspection"),
}
"""Code of an operating state -> its words."""

CODES: Mapping[str, int] = {
    "off": OFF,
    "starting": STARTING,
    "running": RUNNING,
    "travelling": TRAVELLING,
    "door_moving": DOOR_MOVING,
    "test": TEST,
    "inspection": INSPECTION,
}
"""How rule packs call the states."""

AT_WORK = (STARTING, RUNNING, TRAVELLING, TEST)
"""The states in which a machine turns: what run time and starts are counted by."""

REPEAT_S = 60.0
"""A state that lasts is said again in each minute, so that whoever joins later learns of it."""


@dataclass(frozen=True, slots=True)
class Clause:
    """`state` holds while all gates of `when` are open and those of `past` are not all open yet.

    past: the gates of `when` that say `within: T`, with T as their `for_s`; none: no such end.
    """

    state: int
    when: tuple[Gate, ...]
    past: tuple[Gate, ...] = ()

    @property
    def gates(self) -> tuple[Gate, ...]:
        return self.when + self.past


@dataclass(frozen=True, slots=True)
class StateSpec:
    """One enum point of a kind: the first clause that holds says the state; none: unknown.

    hold_s: how long a value of an input is good for; 0: three of its periods, at least a minute.
    """

    point: PointDef
    order: tuple[Clause, ...]
    hold_s: float = 0.0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The points that the state follows from, each once."""
        return tuple(dict.fromkeys(gate.point for clause in self.order for gate in clause.gates))
