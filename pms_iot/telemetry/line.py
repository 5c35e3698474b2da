"""One line of InfluxDB line protocol, read with all its escapes; exact, not fast.

Grammar: `measurement[,tag=value…] field=value[,field=value…] time`, one space between the three,
a backslash before comma, equals sign or space; strings in double quotes with `\\"` and `\\\\`.
Stricter than InfluxDB: the time (ns) is required and a string holds no line break.
"""

import re
from typing import NamedTuple

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

    tags: dict[str, str]
    fields: list[tuple[str, float | str]]
    at: int


def parse_line(text: str) -> Line:
    """Raises ValueError saying what is wrong with the line."""
    match = _LINE.fullmatch(text)
    if match is None:
        raise ValueError(f"not line protocol: {text[:80]!r}")
    at = int(match["at"])
    if not -(2**63) <= at < 2**63:
        raise ValueError(f"time out of range: {at}")
    fields = [(_unescape(key), _value(value)) for key, value in _FIELDS.findall(match["fields"])]
    return Line(tags_of(match["head"]), fields, at)


def tags_of(head: str) -> dict[str, str]:
    """The tags of a line's first part, `measurement,tag=value,…`."""
    start = re.match(r"(?:\\[,= ]|[^, ])++", head)
    found = _TAGS.findall(head, start.end() if start else 0)
    return {_unescape(key): _unescape(value) for key, value in found}


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
