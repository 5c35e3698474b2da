"""What one message holds for the points of its mapping, before anything is said of its age."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pms_edge.decode.decoder import BAD, NAN, Convert, Raw, conversion
from pms_edge.mqtt_in.mapping import Format, MessageMap, PointInMessage
from pms_edge.mqtt_in.meokon import decode
from pms_edge.mqtt_in.messages import MalformedError, parse_json, parse_text
from pms_edge.mqtt_in.paths import ABSENT, Path, pick
from pms_edge.mqtt_in.sending import Reading
from pms_edge.mqtt_in.values import Read, reader
from pms_edge.profiles.points import Point


class Cell(NamedTuple):
    """One point of one kind of message, ready to be read."""

    point: Point
    path: Path
    read: Read
    convert: Convert
    misread: str  # what is counted when it cannot be read

    def reading(self, value: Any) -> Reading:
        number = self.read(value)
        return Reading(self.point, *(self.convert(number) if math.isfinite(number) else (NAN, BAD)))


class Found(NamedTuple):
    """A value that a message holds for a point."""

    cell: Cell
    value: Any


def cell_of(entry: PointInMessage) -> Cell:
    point = entry.point()
    misread = "not_a_number" if entry.type == "number" else "unknown_word"
    read = reader(entry.type, entry.words())
    return Cell(point, entry.where(), read, conversion(point), misread)


class Held(NamedTuple):
    """`content` is what a timestamp is looked for in; the others are of MEOKON frames only."""

    found: list[Found]
    content: Any = None
    records: tuple[tuple[int, Raw], ...] = ()
    serial: str = ""
    missing: tuple[str, ...] = ()


def read_message(form: Format, cells: Sequence[Cell], body: bytes) -> Held:
    """Raises MalformedError for a message that holds none of the points."""
    if form == "plain":
        return Held([Found(cells[0], parse_text(body))])
    if form == "meokon":
        frame = decode(body)
        found = _found(cells, frame.values)
        missing = {cell.point.name for cell in cells} - {cell.point.name for cell, _ in found}
        return Held(found, None, frame.records, frame.id, tuple(sorted(missing)))
    content = parse_json(body)
    found = _found(cells, content)
    if not found:
        raise MalformedError("no_values")
    return Held(found, content)


def trials(messages: Sequence[MessageMap]) -> Iterator[tuple[int, int, str, Any, Reading | str]]:
    """The tests of a mapping: (message, test, point, expected, what it reads or why it cannot)."""
    for index, mapped in enumerate(messages):
        cells = [cell_of(entry) for entry in mapped.points]
        for number, test in enumerate(mapped.tests):
            for name, expected in test.expect.items():
                yield (
                    index,
                    number,
                    name,
                    expected,
                    _tried(mapped.format, cells, test.payload, name),
                )


def _tried(form: Format, cells: Sequence[Cell], payload: str, name: str) -> Reading | str:
    try:
        held = read_message(form, cells, payload.encode())
    except MalformedError as error:
        return f"the message is refused: {error.kind} {error.detail}".strip()
    readings = [cell.reading(value) for cell, value in held.found]
    found = [reading for reading in readings if reading.point.name == name]
    return found[0] if found else "this point is not in the message"


def _found(cells: Sequence[Cell], content: Any) -> list[Found]:
    values = [(cell, pick(content, cell.path)) for cell in cells]
    return [Found(cell, value) for cell, value in values if value is not ABSENT]
