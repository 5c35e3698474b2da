"""One line of InfluxDB line protocol, read with all its escapes; exact, not fast.

Grammar: `measurement[,tag=value…] field=value[,field=value…] time`, one space between the three,
a backslash before comma, equals sign or space; strings in double quotes with `\\"` and `\\\\`.
Stricter than InfluxDB: the time (ns) is required and a string holds no line break.
"""

import math
import re
from typing import NamedTuple

from pms_iot.telemetry.batch import BAD, GOOD, UNCERTAIN

# Possessive (++): once read as an escape, a backslash is never tried again as a letter.
_KEY = r"(?:\\[,= ]|[^,= ])++"
_TAG = rf",{_KEY}={_KEY}"
_VALUE = r'(?:"(?:\\.|[^"\\])*+"|[^", ]++)'
_FIELD = rf"{_KEY}={_VALUE}"
_LINE = re.compile(
    rf"(?P<head>(?:\\[,= ]|[^, ])++(?:{_TAG})*+) (?P<fields>{_FIELD}(?:,{_FIELD})*+) (?P<at>-?[0-9]{{1,19}})"
)
_TAGS = re.compile(rf",({_KEY})=({_KEY})")
_FIELDS = re.compile(rf"({_KEY})=({_VALUE})(?:,|$)")
_ESCAPED = re.compile(r"\\([,= ])")
_ESCAPED_IN_TEXT = re.compile(r'\\(["\\])')
_FLOAT = re.compile(
    r"[+-]?(?:(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?|(?i:nan|inf|infinity))"
)
_INTEGER = re.compile(r"[+-]?[0-9]++[iu]")
_BOOLEANS = dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1.0) | dict.fromkeys(
    ("f", "F", "false", "False", "FALSE"), 0.0
)


class Line(NamedTuple):
    """A field is a number (NaN and infinities included) or a text; `at` is Unix ns."""

    measurement: str
    tags: dict[str, str]
    fields: list[tuple[str, float | str]]
    at: int


class Sample(NamedTuple):
    """A field of a line; `value` None = the gateway says that it is bad."""

    field: str
    value: float | None
    quality: int

    @property
    def is_not_a_number(self) -> bool:
        return self.value is not None and not math.isfinite(self.value)


def parse_line(text: str) -> Line:
    """Raises ValueError saying what is wrong with the line."""
    match = _LINE.fullmatch(text)
    if match is None:
        raise ValueError(f"not line protocol: {text[:80]!r}")
    at = int(match["at"])
    if not -(2**63) <= at < 2**63:
        raise ValueError(f"time out of range: {at}")
    fields = [(_unescape(key), _value(value)) for key, value in _FIELDS.findall(match["fields"])]
    return Line(*head_of(match["head"]), fields, at)


def head_of(head: str) -> tuple[str, dict[str, str]]:
    """Measurement and tags of a line's first part, `measurement,tag=value,…`."""
    measurement = re.match(r"(?:\\[,= ]|[^, ])*+", head)
    assert measurement is not None
    found = _TAGS.findall(head, measurement.end())
    return _unescape(measurement[0]), {_unescape(key): _unescape(value) for key, value in found}


def samples_of(line: Line, *, ours: bool) -> tuple[list[Sample], int]:
    """The samples of a line, and how many of its fields hold text. `ours`: `q` and `bad` tell of quality.

    Raises ValueError for a quality that is none.
    """
    quality = _quality(dict(line.fields).get("q", float(GOOD))) if ours else GOOD
    samples: list[Sample] = []
    texts = 0
    for name, value in line.fields:
        if ours and name == "q":
            continue
        if not isinstance(value, str):
            samples.append(Sample(name, value, quality))
        elif ours and name == "bad":
            samples += [Sample(bad, None, BAD) for bad in value.split(",") if value]
        else:
            texts += 1
    return samples, texts


def _quality(value: float | str) -> int:
    """OPC: the top two bits of a byte are the quality, the rest its reason."""
    if isinstance(value, str) or not (0 <= value <= 255 and value == int(value)):
        raise ValueError(f"quality q={value!r}")
    return {0xC0: GOOD, 0x40: UNCERTAIN}.get(int(value) & 0xC0, BAD)


def _unescape(key: str) -> str:
    return _ESCAPED.sub(r"\1", key) if "\\" in key else key


def _value(token: str) -> float | str:
    if token.startswith('"'):
        return _ESCAPED_IN_TEXT.sub(r"\1", token[1:-1])
    if _FLOAT.fullmatch(token):
        return float(token)
    if _INTEGER.fullmatch(token):
        return float(token[:-1])
    if token in _BOOLEANS:
        return _BOOLEANS[token]
    raise ValueError(f"not a value: {token[:40]!r}")
