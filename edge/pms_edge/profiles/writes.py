"""Points of a profile that may be written. A lift or fire equipment never has one."""

from typing import Any, Literal

from pydantic import Field, model_validator

from pms_edge.config.fields import Strict
from pms_edge.config.located import Document
from pms_edge.profiles.points import Bounds, Name, OrderName, Point, PointEntry, point_of

NEVER_WRITTEN = frozenset({"elevator", "fire_panel", "fire_pump"})


class WriteEntry(Strict):
    name: Name
    at: int = Field(ge=0)
    type: Literal["bit", "i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64"]
    kind: Literal["holding", "coil"] = "holding"
    order: OrderName | None = None
    scale: float = 1
    offset: float = 0
    unit: str = ""
    range: Bounds  # inclusive, in engineering units

    @model_validator(mode="after")
    def check_kind(self) -> "WriteEntry":
        if (self.kind == "coil") != (self.type == "bit"):
            raise ValueError(
                "a coil is of type bit, and only a coil: no bit of a register is written"
            )
        if self.scale == 0:
            raise ValueError("scale 0 would make every value the same")
        return self


def load_writes(document: Document, *, base: int, order: str) -> list[Point]:
    """Section `writes` as points with their range; mistakes are added to `document`."""
    section: list[Any] = document.section("writes", list)
    kind = document.content.get("measurement")
    if section and kind in NEVER_WRITTEN:
        document.add(("writes",), f"equipment of kind {kind} is never written: leave it empty")
        return []
    points: list[Point] = []
    for index, raw in enumerate(section):
        entry = document.parse(WriteEntry, raw, ("writes", index))
        if entry is None:
            continue
        if entry.name in [point.name for point in points]:
            document.add(("writes", index, "name"), f"{entry.name!r} is already a point to write")
        points.append(_point(entry, base=base, order=order))
    return points


def _point(entry: WriteEntry, *, base: int, order: str) -> Point:
    plain = entry.model_dump(exclude_unset=True) | {"kind": entry.kind}
    if entry.type == "bit":
        plain["bit"] = 0
    as_read = PointEntry.model_validate({**plain, "range": list(entry.range)})
    return point_of(as_read, kind=entry.kind, base=base, order=order, poll_class="")
