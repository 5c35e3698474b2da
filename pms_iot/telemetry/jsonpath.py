"""Paths into JSON: `a.b[0]`, `switch:0.apower`, and `["odd key"]` where a key is no plain word.

The same paths as in the `mqtt` section of an edge profile (docs/mqtt-devices.md).
"""

import re
from typing import Any, cast

JsonPath = tuple[str | int, ...]
ABSENT = object()
"""What a message does not hold; not the same as a null that it does hold."""

_LONGEST = 256
_PART = re.compile(
    r"""\.?(?P<key>[\w$@][\w$@:\-]*)|\[(?P<index>-?\d{1,6})\]|\[(?P<quote>["'])(?P<odd>.*?)(?P=quote)\]"""
)


def parse_path(text: str) -> JsonPath:
    """`energy.phase[0]` as ("energy", "phase", 0). Raises ValueError, naming the letter."""
    if not 0 < len(text) <= _LONGEST:
        raise ValueError(f"a path has 1 to {_LONGEST} letters")
    parts: list[str | int] = []
    at = 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or (text[at] == ".") != (at > 0 and part["key"] is not None):
            raise ValueError(f"{text!r} is no path from letter {at + 1} on")
        index, odd = part["index"], part["odd"]
        parts.append(int(index) if index is not None else part["key"] if odd is None else odd)
        at = part.end()
    return tuple(parts)


def pick(document: Any, path: JsonPath) -> Any:
    """What lies at `path`, or ABSENT."""
    for part in path:
        if isinstance(part, str) and isinstance(document, dict):
            document = cast(dict[str, Any], document).get(part, ABSENT)
        elif isinstance(part, int) and isinstance(document, list):
            items = cast(list[Any], document)
            document = items[part] if -len(items) <= part < len(items) else ABSENT
        else:
            return ABSENT
    return document


def leaves(document: Any) -> dict[str, Any]:
    """All that is no object and no list under its path, `a.b`; lists are left out, their order says
    nothing of what they hold."""
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:
        name, node = waiting.pop()
        if isinstance(node, dict):
            members = list(cast(dict[str, Any], node).items())
            waiting += [(f"{name}.{key}" if name else key, value) for key, value in members[::-1]]
        elif not isinstance(node, list) and name:
            found[name] = node
    return found
