"""One row of a vendor's table as one point of a register map."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from pms_edge.config.located import Mistake
from pms_edge.import_points.columns import HEX, Column
from pms_edge.import_points.table import Row, Table
from pms_edge.import_points.values import (
    Place,
    kind_of_function,
    looks_modicon,
    number_of,
    order_of,
    place_of,
    range_of,
    scale_of,
    type_of,
    words_of,
    writes_only,
)

NAME = re.compile(r"[a-z][a-z0-9_]*")
RESERVED = re.compile(r"^(reserved?|spare|unused|预留|保留|备用|空)$", re.IGNORECASE)
PREFIXES = {"holding": "p_", "input": "p_input_", "coil": "p_coil_", "discrete": "p_discrete_"}
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Options:
    """What the table itself may not say."""

    kind: str = "holding"
    base: int = 0
    type: str | None = None
    order: str | None = None
    addresses: str = "auto"  # modicon | plain


class Imported(NamedTuple):
    """A point as a profile writes it, and the row and label that it came from."""

    row: int
    entry: dict[str, Any]
    label: str


@dataclass(slots=True)
class Import:
    points: list[Imported] = field(default_factory=list["Imported"])
    mistakes: list[Mistake] = field(default_factory=list[Mistake])
    left_out: list[str] = field(default_factory=list[str])
    modicon: bool = False


def read_rows(file: str, table: Table, options: Options) -> Import:
    """Every row of the table: as a point, left out for a reason, or with all of its mistakes."""
    column = table.columns["address"]
    texts = [text for row in table.rows if (text := row.cell(column))]
    modicon = options.addresses == "modicon" or (
        options.addresses == "auto" and "function" not in table.columns and looks_modicon(texts)
    )
    done = Import(modicon=modicon)
    for row in table.rows:
        filled = sum(bool(cell.strip()) for cell in row.cells)
        reader = _RowReader(file, table, row, options, modicon)
        reason = reader.reason_to_leave_out(filled)
        if reason:
            done.left_out.append(f"{file}:{row.number}: {reason}")
        elif filled > 1:
            point = reader.point()
            done.mistakes += reader.mistakes
            if point and not reader.mistakes:
                done.points.append(point)
    return done


class _RowReader:
    def __init__(self, file: str, table: Table, row: Row, options: Options, modicon: bool) -> None:
        self._file, self._table, self._row, self._options = file, table, row, options
        self._modicon = modicon
        self.mistakes: list[Mistake] = []

    def reason_to_leave_out(self, filled: int) -> str:
        if filled > 1 and writes_only(self._cell("access")):
            return "write-only"
        texts = (self._cell("name"), self._cell("label"))
        return "reserved" if any(RESERVED.fullmatch(text) for text in texts) else ""

    def point(self) -> Imported | None:
        place, kind = self._place(), self._kind_of_registers()
        datatype, order = self._type()
        scale, unit = self._scale()
        if place is None or self.mistakes:
            return None
        kind = place.kind or kind or self._options.kind
        entry: dict[str, Any] = {"at": place.address, "type": datatype, "kind": kind}
        self._add_size(entry, place, datatype, kind)
        order = self._value("order", order_of, None) or order or self._options.order
        if order and words_of(datatype) > 1:
            entry["order"] = order
        if datatype not in ("bit", "string"):
            offset = self._value("offset", number_of, None) or 0.0
            entry |= {"scale": scale, "offset": offset}
            entry |= {"unit": self._cell("unit") or unit, "range": self._range()}
        name = self._name(place, entry)
        return Imported(self._row.number, {"name": name, **entry}, self._label(name))

    def _place(self) -> Place | None:
        text = self._cell("address")
        if not text:
            self._wrong("address", "is missing")
            return None
        column = self._table.columns["address"]
        if column in self._row.fractions and text.endswith(".1"):
            what = f"the number {text} may be bit 1 or bit 10: make the column text"
            self._wrong("address", what)
            return None
        hexadecimal = bool(HEX.search(self._table.titles[column]))
        base, modicon = self._options.base, self._modicon
        return self._value(
            "address",
            lambda t: place_of(t, base=base, modicon=modicon, hexadecimal=hexadecimal),
            None,
        )

    def _kind_of_registers(self) -> str | None:
        return self._value("function", kind_of_function, None)

    def _type(self) -> tuple[str, str | None]:
        if self._cell("type"):
            return self._value("type", type_of, ("", None))
        if self._options.type:
            return self._options.type, None
        self._wrong("type", "is missing (--type gives one for all rows without)")
        return "", None

    def _scale(self) -> tuple[float, str]:
        scale = self._value("scale", lambda t: scale_of(t, either_way=False), (1.0, ""))
        gain = self._value("gain", lambda t: scale_of(t, either_way=True), (1.0, ""))
        return (scale[0], scale[1]) if self._cell("scale") else gain

    def _add_size(self, entry: dict[str, Any], place: Place, datatype: str, kind: str) -> None:
        length = self._value("length", number_of, None)
        if place.last is not None:
            length = place.last - place.address + 1
        if datatype == "string":
            if not length:
                self._wrong("length", "a string needs its length in registers")
            entry["length"] = int(length or 1)
        elif length is not None and place.last is not None and length != words_of(datatype):
            self._wrong("address", f"{int(length)} registers do not hold one {datatype}")
        bit = place.bit if place.bit is not None else self._value("bit", number_of, None)
        if datatype == "bit" and kind in ("holding", "input"):
            if bit is None:
                self._wrong("address", "a bit of a register needs its number, such as 3.5")
            entry["bit"] = int(bit or 0)
        elif bit is not None and datatype != "bit":
            self._wrong("address", f"bit {int(bit)} of a register is not {datatype}")

    def _range(self) -> tuple[float, float] | None:
        low = self._value("low", number_of, None)
        high = self._value("high", number_of, None)
        if low is not None and high is not None:
            return low, high
        return self._value("range", range_of, None)

    def _name(self, place: Place, entry: dict[str, Any]) -> str:
        """The table's own name where it is one, else one made of the address."""
        for column in ("name", "label"):
            name = re.sub(r"[\s\-./]+", "_", self._cell(column).lower()).strip("_")
            if NAME.fullmatch(name):
                return name
        bit = f"_b{entry['bit']}" if "bit" in entry else ""
        return f"{PREFIXES[entry['kind']]}{place.address}{bit}"

    def _label(self, name: str) -> str:
        texts = [self._cell("name"), self._cell("label")]
        said = [text for text in texts if text and text != name]
        return " ".join([self._cell("address"), *said])

    def _cell(self, column: Column) -> str:
        place = self._table.columns.get(column)
        return "" if place is None else self._row.cell(place)

    def _value(self, column: Column, parse: Callable[[str], Value], otherwise: Value) -> Value:
        text = self._cell(column)
        if not text:
            return otherwise
        try:
            return parse(text)
        except ValueError as error:
            self._wrong(column, str(error))
            return otherwise

    def _wrong(self, column: Column, what: str) -> None:
        place = self._table.columns.get(column)
        title = self._table.titles[place].strip() if place is not None else column
        self.mistakes.append(Mistake(self._file, self._row.number, title, what))
