"""What must be done to a kind of equipment, and how often. Plans are data: `rules/<kind>/maintenance.yaml`."""

from dataclasses import dataclass
from typing import Literal

from pms_iot.kernel.text import Text

Evidence = Literal["none", "photo", "reading"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A distance in the calendar: days or months, exactly one of them."""

    days: int | None = None
    months: int | None = None


@dataclass(frozen=True, slots=True)
class Meter:
    """Due when any of `points` has advanced by `every` (in `unit`, the points' own) since the last time."""

    points: tuple[str, ...]
    every: float
    unit: str = ""


@dataclass(frozen=True, slots=True)
class ChecklistLine:
    """One thing to do or to look at, and the evidence that it was done."""

    id: str
    text: Text
    evidence: Evidence = "none"


@dataclass(frozen=True, slots=True)
class PlanTemplate:
    """One maintenance plan of a kind; by calendar, by meter, or whichever is first.

    id is `<kind>.<name>`. An order opens `early_days` before the due date and is late `late_days`
    after it. The checklist holds the lines of the plans that this one includes, then its own.
    """

    id: str
    kind: str
    code: str
    label: Text
    every: Interval | None
    meter: Meter | None
    early_days: int
    late_days: int
    statutory: bool
    skill: str
    people: int
    priority: str
    source: str
    checklist: tuple[ChecklistLine, ...]
