"""Whole messages of plain lines to columns at once, without a loop over their samples or lines.

Plain is what gateways write: `head name=number,…,q=192i time`. numpy finds the separators and from their
order what each stretch of bytes between two of them is: a name, a value, a quality or a time. All values
then go through one `orjson.loads`. What is not plain is not read here; `columns` reads it exactly.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from pms_iot.telemetry.batch import BAD, GOOD, UNCERTAIN

_NUMBER = rb"(?!-0i?[, ])-?(?:0|[1-9][0-9]*+)(?:i|(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
_KEY = rb'[^,= \\"\n]++'
_LINE = re.compile(
    rb"(?!#)%(key)s(?:,%(key)s=%(key)s)*+ (?!q=)%(key)s=%(number)s(?:,(?!q=)%(key)s=%(number)s)*+"
    rb"(?:,q=(?:192|64|0)i)? [1-8][0-9]{18}" % {b"key": _KEY, b"number": _NUMBER}
)
_FRACTION_AS_INTEGER = re.compile(rb"[.eE][^,]*i")
_NUMBER_LETTERS = b"0123456789+-.eE,"
_QUALITIES = {b"192i": GOOD, b"64i": UNCERTAIN, b"0i": BAD}
_NAME, _VALUE, _QUALITY, _TIME = range(4)  # what stands between two separators
_REMEMBERED = 16_384  # separators of a text; an 8 MiB message is not worth the memory
_DIGITS = 19  # of a time in ns: 2001 to 2286
_POWERS = np.array([10**k for k in reversed(range(_DIGITS))], np.uint64)
_COMMA, _EQUALS, _SPACE, _BREAK = b",= \n"
_LETTER_Q = ord("q")


class Plain(NamedTuple):
    """Plain lines as columns.

    names: line by line, its head and its field names (`q` too) as they stand, each name with its `=`, and
    nothing between them; two texts with the same names have the same fields in the same lines.
    at (int64), quality (uint8) and counts (of values) have one entry for each line, value one for each
    field other than q.
    """

    names: bytes
    at: NDArray[np.int64]
    quality: NDArray[np.uint8]
    counts: NDArray[np.intp]
    value: NDArray[np.float64]


def is_plain(line: bytes) -> bool:
    """Whether a line by itself is plain; dear, for finding the lines at fault."""
    return _LINE.fullmatch(line) is not None


def read_plain(text: bytes) -> Plain | None:
    """Lines that each end in a line break; None if not all of them are plain.

    The head is not looked into: whoever knows the names of a line has seen that it is one.
    """
    if b'"' in text or b"\\" in text:
        return None
    letters = np.frombuffer(text, np.uint8)
    place = _separators(letters)
    order = letters[place].tobytes()
    shape = _shape(order) if len(order) <= _REMEMBERED else _shape.__wrapped__(order)
    if shape is None:
        return None
    width = _widths(place)  # of each stretch, its separator included
    if (width[shape.breaks] != _DIGITS + 1).any():
        return None
    has_quality = _named_q(letters, place, width, shape.last)
    kind = shape.kind.copy()
    kind[shape.last[has_quality]] = _QUALITY
    kinds = np.repeat(kind, width)  # of each letter
    kinds[place[shape.breaks]] = _NAME
    value = _floats(letters[kinds == _VALUE].tobytes().replace(b" ", b","))
    quality = _qualities(letters[kinds == _QUALITY].tobytes(), has_quality)
    at = _times(letters, place[shape.breaks] - _DIGITS)
    counts = shape.fields - has_quality
    if value is None or quality is None or at is None or len(value) != counts.sum():
        return None
    return Plain(letters[kinds == _NAME].tobytes(), at, quality, counts, value)


def _separators(letters: NDArray[np.uint8]) -> NDArray[np.intp]:
    found = letters == _COMMA
    found |= letters == _EQUALS
    found |= letters == _SPACE
    found |= letters == _BREAK
    return found.nonzero()[0]


def _widths(place: NDArray[np.intp]) -> NDArray[np.intp]:
    width = np.empty_like(place)
    width[0] = place[0] + 1
    np.subtract(place[1:], place[:-1], out=width[1:])
    return width


class _Shape(NamedTuple):
    """What stands before each separator, each with a stretch of letters of its own.

    last, breaks: the separators behind the last field and the time of each line; fields: how many each
    line has.
    """

    kind: NDArray[np.uint8]
    last: NDArray[np.intp]
    breaks: NDArray[np.intp]
    fields: NDArray[np.intp]


@lru_cache(512)  # gateways send the same lines every second
def _shape(order: bytes) -> _Shape | None:
    """What the separators of a text tell of its lines; None if they cannot all be plain."""
    separator = np.frombuffer(order, np.uint8)
    spaces = np.flatnonzero(separator == _SPACE)
    breaks = np.flatnonzero(separator == _BREAK)
    first, second = spaces[::2], spaces[1::2]
    if not len(breaks) or len(spaces) != 2 * len(breaks) or (second + 1 != breaks).any():
        return None
    if breaks[-1] != len(separator) - 1:
        return None
    equals = separator == _EQUALS
    in_fields = np.cumsum(separator == _SPACE) % 2 == 1
    # From the first space to the second, every other separator is an equals sign.
    if (in_fields[:-1] & (equals[:-1] == equals[1:])).any():
        return None
    kind = np.full(len(separator), _NAME, np.uint8)
    kind[1:][equals[:-1] & in_fields[:-1]] = _VALUE
    kind[breaks] = _TIME
    return _Shape(kind, second, breaks, (second - first) // 2)


def _named_q(
    letters: NDArray[np.uint8],
    place: NDArray[np.intp],
    width: NDArray[np.intp],
    last: NDArray[np.intp],
) -> NDArray[np.bool_]:
    """Whether the last field of each line has the name `q`."""
    return (letters[place[last - 1] - 1] == _LETTER_Q) & (width[last - 1] == 2)


def _floats(text: bytes) -> NDArray[np.float64] | None:
    """Numbers, each with a comma behind it; None for anything but JSON numbers and integers as `7i`."""
    if b"i" in text:
        if _FRACTION_AS_INTEGER.search(text):
            return None
        text = text.replace(b"i,", b",")
    # `null`, `true` and brackets are JSON too; "-0" would lose its sign as an integer.
    if text.translate(None, _NUMBER_LETTERS) or b"-0," in text:
        return None
    try:
        numbers = orjson.loads(b"[" + text[:-1] + b"]")
    except orjson.JSONDecodeError:
        return None
    return np.fromiter(numbers, np.float64, len(numbers))


def _qualities(texts: bytes, given: NDArray[np.bool_]) -> NDArray[np.uint8] | None:
    """The quality of each line, good where none is given; `texts` each have a space behind them."""
    quality = np.full(len(given), GOOD, np.uint8)
    if texts != b"192i " * (len(texts) // 5):
        try:
            quality[given] = list(map(_QUALITIES.__getitem__, texts.split(b" ")[:-1]))
        except KeyError:
            return None
    return quality


def _times(letters: NDArray[np.uint8], start: NDArray[np.intp]) -> NDArray[np.int64] | None:
    digits = letters[start[:, None] + np.arange(_DIGITS)] - np.uint8(ord("0"))  # others wrap round
    if digits.max() > 9 or digits[:, 0].max() > 8:  # int64 ends at 9.2e18
        return None
    return (digits.astype(np.uint64) @ _POWERS).astype(np.int64)
