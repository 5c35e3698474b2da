"""One value as a device writes it to the number of a point."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pms_edge.decode.decoder import NAN, Raw

ValueType = Literal["number", "bool", "enum"]
Read = Callable[[Any], Raw]

# Not `float()` alone: it takes nan, infinity, 1_000 and digits of other scripts.
_NUMBER = re.compile(r"[+-]?(\d{1,300}(\.\d{0,300})?|\.\d{1,300})([eE][+-]?\d{1,3})?", re.ASCII)
_WORDS = {"on": 1, "true": 1, "yes": 1, "1": 1, "off": 0, "false": 0, "no": 0, "0": 0}


def reader(kind: ValueType, values: Mapping[str, Raw]) -> Read:
    """How a point of `kind` is read: a function that gives NaN for what it cannot be."""
    if kind == "enum":
        table = {word.casefold(): number for word, number in values.items()}
        return lambda value: table.get(word_of(value).casefold(), NAN)
    return boolean if kind == "bool" else number


def number(value: Any) -> Raw:
    """A finite number below 1e300, also when it is written as text; true and false are 1 and 0."""
    if isinstance(value, str):
        text = value.strip()
        value = _parsed(text) if _NUMBER.fullmatch(text) else None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float) and abs(value) < 1e300 and math.isfinite(value):
        return value
    return NAN


def boolean(value: Any) -> Raw:
    """1 or 0 of ON/OFF, true/false, yes/no, 1/0 in any case; NaN of everything else."""
    return _WORDS.get(word_of(value).casefold(), NAN)


def word_of(value: Any) -> str:
    """A JSON scalar as one word: true for True, 1 for 1.0; empty when it is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value)) if abs(value) < 1e15 else ""
    if isinstance(value, int):
        return str(value) if abs(value) < 1e15 else ""
    return str(value).strip() if isinstance(value, str | float) else ""


def _parsed(text: str) -> Raw:
    return int(text) if text.lstrip("+-").isdigit() and len(text) < 19 else float(text)
