"""A block's conversions as one function, right for every value that is good.

Its source is made of generated names and of numbers: no text of a profile gets into it.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any

from pms_edge.decode.meaning import NAN, Raw, bcd, factor, missing_codes
from pms_edge.decode.shortest import ROUNDING, shortest, step
from pms_edge.profiles.points import Point

# Values, and for each whether it is good; None when all of them are.
Judged = tuple[list[Raw], tuple[bool, ...] | None]
BlockFunction = Callable[[tuple[Raw, ...]], Judged | None]
_HUGE = 1.7976931348623157e308
_WORD = ("bit", "bits")  # their not-a-value codes are those of the whole word


def compile_block(points: Sequence[tuple[int, Point]], cells: int) -> BlockFunction:
    """A function from the block's `cells` cells to its values, or to None for what it cannot do.

    `points` are in the order of the values, each with the column of its cell. A value that is good
    is what `conversion` gives; the others are left to it.
    """
    source = _Source()
    source.line(f"({''.join(f'c{i}, ' for i in range(cells))}) = cells" if cells else "pass")
    grids = {column: 0.0 for column, p in points if _grid(p)}
    for column, point in points:
        if column in grids:
            grids[column] = max(grids[column], _grid(point))
    source.shorten(grids)
    tests: list[str] = []
    for number, (column, point) in enumerate(points):
        tests.append(" and ".join(source.point(number, column, point, short=column in grids)))
    values = f"[{', '.join(f'v{i}' for i in range(len(points)))}]"
    source.line(f"if {' and '.join(filter(None, tests)) or 'True'}: return {values}, None")
    source.line(f"return {values}, ({''.join(f'{test or True}, ' for test in tests)})")
    return source.function()


def _grid(point: Point) -> float:
    """The grid on which floats within the point's range have their shortest decimals; 0 if none."""
    if point.type != "f32" or point.range is None:
        return 0.0
    largest = max(abs((bound - point.offset) / point.scale) for bound in point.range)
    return step(largest) if largest else 0.0


class _Source:
    """The lines of the function, and the objects that they call by generated names."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names: dict[str, Any] = {"shortest": shortest, "bcd": bcd}

    def line(self, text: str) -> None:
        self._lines.append(text)

    def shorten(self, grids: dict[int, float]) -> None:
        """Makes s<column> the shortest decimal of every float cell in `grids`, all at once."""
        if not grids:
            return
        floats = struct.Struct(f"{len(grids)}f")
        self._names |= {"pack": floats.pack, "unpack": floats.unpack}
        self._names["finer"] = _finer(floats, [10 * grid for grid in grids.values()])
        for column, grid in grids.items():
            near = f"c{column} * {grid!r} + {ROUNDING!r} - {ROUNDING!r}"
            self.line(f"s{column} = ({near}) / {grid!r}")
        short = "".join(f"s{column}, " for column in grids)
        cells = "".join(f"c{column}, " for column in grids)
        self.line(f"back = unpack(pack({short}))")
        self.line(f"if back != ({cells}): ({short}) = finer(({cells}), ({short}), back)")

    def point(self, number: int, column: int, point: Point, *, short: bool) -> list[str]:
        """Makes v<number> the value of `point`; returns what must hold for it to be good."""
        self.line(f"p{number} = {_part(column, point, short=short)}")
        self.line(f"v{number} = {self._scaled(f'p{number}', point)}")
        tests = [f"p{number} == p{number}"] if point.type.startswith("bcd") else []
        missing = missing_codes(point)
        if missing:
            code = f"c{column}" if point.type in _WORD else f"p{number}"
            tests.append(f"{code} not in {self._named(missing)}")
        if point.range or not _always_finite(point):
            low, high = point.range or (-_HUGE, _HUGE)
            tests.append(f"{max(low, -_HUGE)!r} <= v{number} <= {min(high, _HUGE)!r}")
        if point.enum:
            tests.append(f"v{number} in {self._named(frozenset(point.enum))}")
        return tests

    def function(self) -> BlockFunction:
        body = "\n        ".join(self._lines)
        text = (
            f"def block(cells):\n    try:\n        {body}\n"
            "    except OverflowError:\n        return None\n"
        )
        exec(compile(text, "<register block>", "exec"), self._names)
        return self._names["block"]

    def _scaled(self, part: str, point: Point) -> str:
        if point.lookup:
            table: dict[Any, Raw] = dict(point.lookup)
            other = self._named(table.get(None, NAN))
            return f"{self._named(table.get)}({part}, {other})"
        if point.scale == 1 and point.offset == 0:
            return part
        operation, number = factor(point.scale)
        return f"{part} {operation} {number!r} + {point.offset!r}"

    def _named(self, thing: object) -> str:
        name = f"n{len(self._names)}"
        self._names[name] = thing
        return name


def _part(column: int, point: Point, *, short: bool) -> str:
    """The point's own number out of its cell, as `extraction` takes it."""
    cell, bit = f"c{column}", point.bit or 0
    if point.type in _WORD:
        return f"({cell} >> {bit}) & {(1 << point.bits) - 1}"
    if point.type == "u8":
        return f"({cell} >> {8 if point.high else 0}) & 255"
    if point.type == "i8":
        return f"((({cell} >> {8 if point.high else 0}) & 255) ^ 128) - 128"
    if point.type == "any":
        return f"1 if {cell} else 0"
    if point.type.startswith("bcd"):
        return f"bcd({cell})"
    if point.type == "f32":
        return f"s{column}" if short else f"shortest({cell})"
    return cell


def _always_finite(point: Point) -> bool:
    if point.lookup:
        return point.lookup[-1][0] is None or any(code is None for code, _ in point.lookup)
    modest = abs(point.scale) < 1e200 and abs(point.offset) < 1e200
    return modest and point.type not in ("f32", "f64") and not point.type.startswith("bcd")


def _finer(floats: struct.Struct, grids: Sequence[float]) -> Callable[..., list[float]]:
    def finer(
        cells: Sequence[float], coarse: Sequence[float], back: Sequence[float]
    ) -> list[float]:
        """Shortest decimals of `cells`, given those on a grid ten times coarser, which read back
        as `back`.
        """
        fine = [(c * g + ROUNDING - ROUNDING) / g for c, g in zip(cells, grids, strict=True)]
        again = floats.unpack(floats.pack(*fine))
        rows = zip(cells, coarse, back, fine, again, strict=True)
        return [s if x == c else t if y == c else shortest(c) for c, s, x, t, y in rows]

    return finer
