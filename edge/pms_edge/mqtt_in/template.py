"""The part of Home Assistant's templates that has one plain meaning.

    {{ value }}   {{ value_json.a.b }}   {{ value_json['a'][0] }}

with `| float`, `| int`, `| round(n)`, `| is_defined`, `* 0.1`, `/ 10` and parentheses. Filters bind
tighter than `*` and `/`, as in Jinja. Everything else is refused: `float(0)`, which would make an
unreadable value a zero, conditions, and whatever else would have to be run.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from pms_edge.mqtt_in.messages import Message, parse_json, parse_text
from pms_edge.mqtt_in.paths import ABSENT, Path, pick
from pms_edge.mqtt_in.values import number

MAX_TEMPLATE, MAX_DEPTH = 512, 8

Apply = Callable[[Any], Any]
Template = Callable[[Message], Any]

_TOKEN = re.compile(
    r"""\s*(?:(?P<name>[A-Za-z_]\w*)|(?P<number>\d{1,15}(?:\.\d{1,15})?)"""
    r"""|(?P<text>'[^'\\]*'|"[^"\\]*")|(?P<sign>[.\[\]()|*/=-]))""",
    re.ASCII,
)


class RefusedTemplateError(ValueError):
    """A template outside the subset; `text` is the template."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)


def parse_template(text: str) -> Template:
    """What reads the value of a message: a JSON value, text or number, or ABSENT.

    Raises RefusedTemplateError; the template it gives raises MalformedError for a body without JSON.
    """
    inner = re.fullmatch(r"\s*\{\{-?(.*?)-?\}\}\s*", text, re.DOTALL)
    if inner is None or len(text) > MAX_TEMPLATE:
        raise RefusedTemplateError(text[:MAX_TEMPLATE])
    try:
        root, apply = _Parser(_tokens(inner[1])).parse()
    except ValueError as error:
        raise RefusedTemplateError(text) from error
    if root == "value":
        return lambda message: apply(parse_text(message.body))
    return lambda message: apply(parse_json(message.body))


def plain_value(message: Message) -> Any:
    """The whole payload as text: what an entity without a template shows."""
    return parse_text(message.body)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position, text = 0, text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise ValueError(text)
        tokens.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


class _Parser:
    """Recursive descent over: product = filtered (("*" | "/") number)*, filtered = atom ("|" f)*."""

    def __init__(self, tokens: Sequence[tuple[str, str]]) -> None:
        self._tokens, self._at = [*tokens, ("end", "")], 0
        self._root = ""

    def parse(self) -> tuple[str, Apply]:
        apply = self._product(0)
        self._expect("end")
        return self._root, apply

    def _product(self, depth: int) -> Apply:
        if depth > MAX_DEPTH:
            raise ValueError("too deep")
        apply = self._filtered(depth)
        while self._next() in (("sign", "*"), ("sign", "/")):
            _, sign = self._take()
            apply = _scaled(apply, sign, float(self._expect("number")))
        return apply

    def _filtered(self, depth: int) -> Apply:
        apply = self._atom(depth)
        while self._accept("|"):
            apply = self._filter(apply)
        return apply

    def _atom(self, depth: int) -> Apply:
        if self._accept("("):
            apply = self._product(depth + 1)
            self._expect("sign", ")")
            return apply
        self._root = self._expect("name")
        if self._root not in ("value", "value_json"):
            raise ValueError(self._root)
        path = self._path() if self._root == "value_json" else ()
        return lambda document: pick(document, path)

    def _path(self) -> Path:
        path: list[str | int] = []
        while self._next() in (("sign", "."), ("sign", "[")):
            _, sign = self._take()
            path.append(self._expect("name") if sign == "." else self._index())
        return tuple(path)

    def _index(self) -> str | int:
        kind, text = self._take()
        self._expect("sign", "]")
        if kind == "text":
            return text[1:-1]
        if kind != "number":
            raise ValueError(text)
        return int(text)

    def _filter(self, apply: Apply) -> Apply:
        name = self._expect("name")
        if name == "is_defined":
            return apply
        if name == "float":
            return lambda document: _number_of(apply(document))
        if name == "int":
            return lambda document: _truncated(_number_of(apply(document)))
        if name == "round":
            places = self._places()
            return lambda document: _rounded(_number_of(apply(document)), places)
        raise ValueError(name)

    def _places(self) -> int:
        if not self._accept("("):
            return 0
        places = 0 if self._next() == ("sign", ")") else int(self._expect("number"))
        self._expect("sign", ")")
        return places

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at]

    def _take(self) -> tuple[str, str]:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _accept(self, sign: str) -> bool:
        found = self._next() == ("sign", sign)
        self._at += found
        return found

    def _expect(self, kind: str, text: str | None = None) -> str:
        token = self._take()
        if token[0] != kind or text not in (None, token[1]):
            raise ValueError(token[1])
        return token[1]


def _number_of(value: Any) -> Any:
    """ABSENT stays absent; what is no number becomes NaN, and so a bad sample."""
    return value if value is ABSENT else number(value)


def _scaled(apply: Apply, sign: str, factor: float) -> Apply:
    if factor == 0:
        raise ValueError("0")

    def scaled(document: Any) -> Any:
        value = _number_of(apply(document))
        if value is ABSENT:
            return value
        return value * factor if sign == "*" else value / factor

    return scaled


def _truncated(value: Any) -> Any:
    return math.trunc(value) if value is not ABSENT and math.isfinite(value) else value


def _rounded(value: Any, places: int) -> Any:
    return round(float(value), places) if value is not ABSENT and math.isfinite(value) else value
